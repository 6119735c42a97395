#include "parallel/mpi_error.h"

#include <string>

#include "kernels/error.h"

namespace heddle {

void mpi_check(int code, const char* what) {
  if (code == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING] = "";
  int length = 0;
  MPI_Error_string(code, text, &length);
  throw error("{} failed: {}", what, std::string(text, static_cast<std::size_t>(length)));
}

}  // namespace heddle
