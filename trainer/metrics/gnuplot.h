// Pictures through gnuplot: a script goes in on standard input, the picture comes out on standard output. No
// shell is involved, and no name of a file or anything else a user wrote is part of a command.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace heddle {

// A gnuplot string literal that shows `text` as it is (blanks instead of control characters).
std::string gnuplot_string(std::string_view text);

// `set terminal` for a picture of width x height pixels, chosen by the ending of `output`: .png, .svg or
// .pdf. Throws UsageError for any other.
std::string gnuplot_terminal(const std::filesystem::path& output, int width, int height);

// Runs the script and puts what it draws into `output`, which is replaced only if gnuplot succeeds. Throws
// Error with gnuplot's own words if it fails, and one that says what to install if there is no gnuplot.
void run_gnuplot(const std::string& script, const std::filesystem::path& output);

bool has_gnuplot();  // on the PATH

}  // namespace heddle
