// Loads a back end from its module, so that the back end's libraries are needed only where it is
// used. Modules are beside the program, or in ../lib/syncnorm of an installed one.
#pragma once

#include <dlfcn.h>

#include <filesystem>
#include <string>

namespace syncnorm {

/// Returns the function `entry` of module `file`, or null after appending the failures to `tried`.
/// `flags` are dlopen's. The module is never unloaded.
template <class Entry>
Entry* load_module_entry(const std::string& file, const char* entry, int flags,
                         std::string& tried) {
  namespace fs = std::filesystem;
  const fs::path here = fs::read_symlink("/proc/self/exe").parent_path();
  for (const fs::path& folder : {here, here / "../lib/syncnorm"}) {
    const fs::path module = folder / file;
    if (!fs::exists(module)) continue;
    if (void* handle = dlopen(module.c_str(), flags))
      if (void* found = dlsym(handle, entry)) return reinterpret_cast<Entry*>(found);
    const char* reason = dlerror();
    tried += std::string("; ") + (reason != nullptr ? reason : "it has no entry point");
  }
  return nullptr;
}

/// Returns the text that the function `entry` of module `file` writes, of type void(std::string*);
/// or `otherwise` with the reason. Never throws.
inline std::string text_of_module(const std::string& file, const char* entry,
                                  const std::string& otherwise, int flags) {
  try {
    std::string tried, text;
    if (auto* write = load_module_entry<void(std::string*)>(file, entry, flags, tried)) {
      write(&text);
      return text;
    }
    return otherwise + " (" + (tried.empty() ? file + " is missing" : tried.substr(2)) + ")";
  } catch (const std::exception& error) {
    return otherwise + " (" + error.what() + ")";
  }
}

}  // namespace syncnorm
