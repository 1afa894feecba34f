// See failure.h.
#include "base/failure.h"

#include <cstdlib>
#include <filesystem>
#include <new>
#include <system_error>

namespace syncnorm {

Error as_error(const std::exception_ptr& exception) {
  const std::string defect = "; this is a defect of syncnorm, please report it";
  try {
    std::rethrow_exception(exception);
  } catch (const Error& error) {
    return error;
  } catch (const std::bad_alloc&) {
    return OutOfMemoryError("memory");
  } catch (const std::filesystem::filesystem_error& error) {
    return InputError(error.path1().string() + ": " + error.code().message() +
                      "; check the path and its permissions");
  } catch (const std::system_error& error) {
    if (error.code() == std::errc::resource_unavailable_try_again)
      return InputError("cannot start a thread (" + error.code().message() +
                        "); raise the limit of processes (ulimit -u) or of memory (ulimit -v)");
    return InputError(std::string(error.what()) + "; the system refused it");
  } catch (const std::exception& error) {
    return Error(ExitCode::peer_lost, error.what() + defect);
  } catch (...) {
    return Error(ExitCode::peer_lost, "something that is no exception was thrown" + defect);
  }
}

void require_spare_memory(std::size_t bytes) {
  void* volatile spare = std::malloc(bytes);  // volatile, else the compiler removes both calls
  if (spare == nullptr) throw OutOfMemoryError("memory to compute in");
  std::free(spare);
}

}  // namespace syncnorm
