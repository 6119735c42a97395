#include "tests/system/heddle_run.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <random>
#include <sstream>
#include <thread>

#include "trainer/checkpoint/checkpoint.h"

namespace heddle {

namespace {

using namespace std::chrono_literals;

std::string read_file(const std::string& path) {
  std::stringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

std::vector<std::string> command(int ranks, const std::vector<std::string>& words) {
  std::vector<std::string> all;
  if (ranks > 0) {
    std::stringstream mpirun(HEDDLE_MPIRUN);
    for (std::string word; mpirun >> word;) all.push_back(word);
    all.insert(all.end(), {"-n", std::to_string(ranks)});
  }
  all.push_back(HEDDLE_BINARY);
  all.insert(all.end(), words.begin(), words.end());
  return all;
}

}  // namespace

TestFolder::TestFolder() {
  std::string pattern = (std::filesystem::temp_directory_path() / "heddle-XXXXXX").string();
  path_ = mkdtemp(pattern.data());
}

TestFolder::~TestFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

BackgroundRun::BackgroundRun(const TestFolder& folder, int ranks, const std::vector<std::string>& words) {
  static int number = 0;
  output_path_ = folder / ("output-" + std::to_string(number++));
  const std::vector<std::string> all = command(ranks, words);
  std::vector<char*> arguments;
  for (const std::string& word : all) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  pid_ = fork();
  if (pid_ == 0) {
    setpgid(0, 0);
    const int output = open(output_path_.c_str(), O_CREAT | O_WRONLY | O_TRUNC, 0600);
    dup2(output, STDOUT_FILENO);
    dup2(output, STDERR_FILENO);
    dup2(open("/dev/null", O_RDONLY), STDIN_FILENO);
    if (chdir(folder.path().c_str()) != 0) _exit(126);
    execvp(arguments[0], arguments.data());
    _exit(127);
  }
}

BackgroundRun::~BackgroundRun() {
  if (pid_ > 0) {
    kill(-pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
}

std::vector<pid_t> BackgroundRun::ranks(std::size_t count) const {
  const std::string children = "/proc/" + std::to_string(pid_) + "/task/" + std::to_string(pid_) + "/children";
  std::vector<pid_t> found;
  for (int i = 0; i < 600 && found.size() < count; ++i, std::this_thread::sleep_for(50ms)) {
    found.clear();
    std::ifstream list(children);
    for (pid_t child; list >> child;)
      if (std::filesystem::read_symlink("/proc/" + std::to_string(child) + "/exe").filename() == "heddle")
        found.push_back(child);
  }
  return found;
}

bool BackgroundRun::wait_for(const std::string& text) const {
  for (int i = 0; i < 1200; ++i, std::this_thread::sleep_for(50ms))
    if (read_file(output_path_).find(text) != std::string::npos) return true;
  return false;
}

RunResult BackgroundRun::wait() {
  const auto start = std::chrono::steady_clock::now();
  RunResult result;
  int status = 0;
  for (int i = 0; i < 2400; ++i, std::this_thread::sleep_for(50ms)) {
    const pid_t ended = waitpid(pid_, &status, WNOHANG);
    if (ended != pid_) continue;
    pid_ = -1;
    result.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    break;
  }
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  result.output = read_file(output_path_);
  return result;
}

RunResult run_heddle(const TestFolder& folder, int ranks, const std::vector<std::string>& words) {
  return BackgroundRun(folder, ranks, words).wait();
}

bool is_running(pid_t process) {
  const std::string stat = read_file("/proc/" + std::to_string(process) + "/stat");
  const std::size_t state = stat.rfind(") ");
  return state != std::string::npos && stat[state + 2] != 'Z';
}

std::string LayoutCase::name() const { return std::to_string(data) + "x" + std::to_string(tensor); }

std::vector<std::string> LayoutCase::words() const {
  return {"--data-parallel", std::to_string(data), "--tensor-parallel", std::to_string(tensor)};
}

std::vector<std::string> checkpoint_hashes(const std::filesystem::path& run) {
  const Checkpoint checkpoint = Checkpoint::open(run, [](const std::string& line) { ADD_FAILURE() << line; });
  std::vector<std::string> hashes;
  for (const ManifestFile& file : checkpoint.manifest().files)
    if (file.name != "config.cfg") hashes.push_back(file.name + " " + file.xxh3_128);
  return hashes;
}

std::string make_text(const TestFolder& folder) {
  const std::string path = folder / "text.txt";
  const char* const words[] = {"the", "king", "of",   "light", "and",  "water", "went", "to",   "a",    "house",
                               "in",  "his",  "hand", "was",   "gold", "they",  "said", "unto", "them", "day"};
  std::mt19937 random(5);
  std::ofstream text(path);
  for (int line = 0; line < 4000; ++line) {
    const unsigned length = 6 + static_cast<unsigned>(random() % 8);
    for (unsigned i = 0; i < length; ++i) text << words[random() % std::size(words)] << (i + 1 < length ? " " : ".\n");
  }
  return path;
}

std::vector<std::string> tiny_gpt(const std::string& text) {
  return {"train",          "--data",           text,  "--tokenizer",    "byte", "--num-layers",     "2",
          "--hidden-size",  "32",               "--num-heads",           "4",    "--context-length", "32",
          "--dropout",      "0.1",              "--global-batch",        "16",   "--length",         "50steps",
          "--warmup",       "5steps",           "--learning-rate",       "3e-3", "--threads",        "1",
          "--log-every",    "1steps",           "--validate-every",      "0",    "--save-every",     "0",
          "--tensorboard=false"};
}

std::vector<std::string> precision_words(const std::string& name) {
  if (name == "bf16_stochastic") return {"--precision", "bf16", "--stochastic-rounding"};
  return {"--precision", name};
}

std::vector<MetricsRecord> metrics_of(const TestFolder& folder, const std::string& run) {
  return read_metrics(folder.path() / run / "metrics.jsonl");
}

std::vector<std::string> with(std::vector<std::string> words, const std::vector<std::string>& more) {
  for (const std::string& word : more) {
    if (!word.starts_with("--")) continue;
    const auto old = std::find(words.begin(), words.end(), word);
    if (old == words.end()) continue;
    const bool has_value = old + 1 != words.end() && !(old + 1)->starts_with("--");
    words.erase(old, old + (has_value ? 2 : 1));
  }
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

}  // namespace heddle
