#include "trainer/metrics/gnuplot.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <vector>

#include "kernels/error.h"
#include "trainer/files.h"

extern char** environ;

namespace heddle {
namespace {

struct Close {
  void operator()(std::FILE* file) const { std::fclose(file); }
};
using Stream = std::unique_ptr<std::FILE, Close>;

Stream anonymous_file(const std::string& content) {
  Stream file(std::tmpfile());
  if (!file || std::fwrite(content.data(), 1, content.size(), file.get()) != content.size() ||
      std::fflush(file.get()) != 0 || std::fseek(file.get(), 0, SEEK_SET) != 0)
    throw error("cannot write a temporary file: {}", std::strerror(errno));
  return file;
}

std::string first_line(std::FILE* file) {
  std::rewind(file);
  char line[512] = {};
  // gnuplot begins with a blank line and shows the script's line and a caret before it says what is wrong.
  std::string last;
  while (std::fgets(line, sizeof line, file)) {
    std::string text(line);
    while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
    if (!text.empty()) last = text;
  }
  return last;
}

// The exit status of `gnuplot arguments...` with these files as its standard streams; -1 if there is none to
// run.
int spawn_gnuplot(const std::vector<const char*>& arguments, int input, int output, int errors) {
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, input, STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, errors, STDERR_FILENO);
  std::vector<char*> words;
  for (const char* word : arguments) words.push_back(const_cast<char*>(word));
  words.push_back(nullptr);
  pid_t child = 0;
  const int failure = posix_spawnp(&child, words[0], &actions, nullptr, words.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (failure != 0) return -1;
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace

std::string gnuplot_string(std::string_view text) {
  std::string quoted = "'";  // in single quotes gnuplot expands nothing, and a quote is written twice
  for (const char c : text) {
    const bool is_control = static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
    quoted += is_control ? ' ' : c;
    if (c == '\'') quoted += c;
  }
  return quoted + "'";
}

std::string gnuplot_terminal(const std::filesystem::path& output, int width, int height) {
  const std::string ending = output.extension().string();
  // noenhanced: '_' in a name is an underscore and not a subscript.
  if (ending == ".png")
    return fmt::format(
        "set terminal pngcairo noenhanced size {},{} font 'DejaVu Sans,15' background '#ffffff'", width,
        height);
  if (ending == ".svg")
    return fmt::format("set terminal svg noenhanced size {},{} font 'DejaVu Sans,15' background '#ffffff'",
                       width, height);
  if (ending == ".pdf")
    return fmt::format("set terminal pdfcairo noenhanced size {:.2f}in,{:.2f}in font 'DejaVu Sans,12'",
                       width / 120.0, height / 120.0);
  throw usage_error("{}: the ending of a picture is .png, .svg or .pdf", output.string());
}

bool has_gnuplot() {
  const Stream nothing = anonymous_file(""), ignored = anonymous_file("");
  return spawn_gnuplot({"gnuplot", "--version"}, fileno(nothing.get()), fileno(ignored.get()),
                       fileno(ignored.get())) == 0;
}

void run_gnuplot(const std::string& script, const std::filesystem::path& output) {
  const Stream input = anonymous_file(script), errors = anonymous_file(""), picture = anonymous_file("");
  // -d: not the user's own settings
  const int status =
      spawn_gnuplot({"gnuplot", "-d"}, fileno(input.get()), fileno(picture.get()), fileno(errors.get()));
  if (status == -1 || status == 127)
    throw error("gnuplot is not on the PATH; install it (Debian and Ubuntu: package gnuplot-nox)");
  if (status != 0) throw error("gnuplot failed (exit code {}): {}", status, first_line(errors.get()));

  std::fseek(picture.get(), 0, SEEK_END);
  std::string bytes(static_cast<std::size_t>(std::max(0L, std::ftell(picture.get()))), '\0');
  std::rewind(picture.get());
  if (bytes.empty() || std::fread(bytes.data(), 1, bytes.size(), picture.get()) != bytes.size())
    throw error("gnuplot drew nothing: {}", first_line(errors.get()));
  write_file_atomically(output, bytes);
}

}  // namespace heddle
