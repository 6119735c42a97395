// Kernels are known by their address only, and those in unnamed namespaces are in no table that the dynamic
// linker reads: their names are looked up in the program's own symbol table.
#include <cxxabi.h>
#include <dlfcn.h>
#include <elf.h>
#include <fmt/format.h>

#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "tests/emulator/grid.h"

namespace heddle::emulator {
namespace {

template <typename T>
std::vector<T> read_table(std::ifstream& file, std::uint64_t offset, std::uint64_t count) {
  std::vector<T> table(count);
  file.seekg(static_cast<std::streamoff>(offset));
  file.read(reinterpret_cast<char*>(table.data()), static_cast<std::streamsize>(count * sizeof(T)));
  return table;
}

// The symbol of the function at `address` in an ELF file that is loaded at `base`; empty if there is none.
std::string find_symbol(const char* path, std::uintptr_t base, std::uintptr_t address) {
  std::ifstream file(path, std::ios::binary);
  const Elf64_Ehdr header = read_table<Elf64_Ehdr>(file, 0, 1)[0];
  const std::uintptr_t value = header.e_type == ET_DYN ? address - base : address;
  const auto sections = read_table<Elf64_Shdr>(file, header.e_shoff, header.e_shnum);
  for (const Elf64_Shdr& section : sections) {
    if (section.sh_type != SHT_SYMTAB) continue;
    for (const Elf64_Sym& symbol :
         read_table<Elf64_Sym>(file, section.sh_offset, section.sh_size / sizeof(Elf64_Sym))) {
      if (ELF64_ST_TYPE(symbol.st_info) != STT_FUNC || symbol.st_value != value) continue;
      file.seekg(static_cast<std::streamoff>(sections[section.sh_link].sh_offset + symbol.st_name));
      std::string name;
      std::getline(file, name, '\0');
      return name;
    }
  }
  return {};
}

std::string demangled(const std::string& symbol) {
  const std::unique_ptr<char, void (*)(void*)> name(
      abi::__cxa_demangle(symbol.c_str(), nullptr, nullptr, nullptr), &std::free);
  return name ? name.get() : symbol;
}

std::string find_name(const void* function) {
  Dl_info object;
  if (dladdr(function, &object) != 0) {
    const std::string symbol =
        find_symbol(object.dli_fname, reinterpret_cast<std::uintptr_t>(object.dli_fbase),
                    reinterpret_cast<std::uintptr_t>(function));
    if (!symbol.empty()) return demangled(symbol);
  }
  return fmt::format("at {}", function);
}

}  // namespace

const char* kernel_name(const void* function) {
  static std::mutex mutex;
  static std::unordered_map<const void*, std::string> names;
  const std::lock_guard lock(mutex);
  auto [entry, is_new] = names.try_emplace(function);
  if (is_new) entry->second = find_name(function);
  return entry->second.c_str();
}

}  // namespace heddle::emulator
