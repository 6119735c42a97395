# The library heddle_cuda: kernels/cuda compiled by nvcc, or, without the CUDA toolkit, kernels/without_cuda, which
# refuses `--device cuda` with the reason.
set(HEDDLE_HAVE_CUDA OFF)
if(NOT HEDDLE_CUDA STREQUAL "OFF")
  if(NOT CMAKE_CUDA_COMPILER)
    find_program(HEDDLE_NVCC nvcc HINTS $ENV{CUDA_HOME} $ENV{CUDA_PATH} /usr/local/cuda PATH_SUFFIXES bin)
    if(HEDDLE_NVCC)
      set(CMAKE_CUDA_COMPILER ${HEDDLE_NVCC})
    endif()
  endif()
  if(CMAKE_CUDA_COMPILER)
    set(HEDDLE_HAVE_CUDA ON)
  elseif(HEDDLE_CUDA STREQUAL "ON")
    message(FATAL_ERROR "HEDDLE_CUDA=ON, but there is no nvcc: put it on PATH or set CUDA_HOME")
  endif()
endif()

if(NOT HEDDLE_HAVE_CUDA)
  message(STATUS "CUDA: not built (no nvcc found)")
  file(GLOB WITHOUT_CUDA_SOURCES CONFIGURE_DEPENDS kernels/without_cuda/*.cpp)
  add_library(heddle_cuda STATIC ${WITHOUT_CUDA_SOURCES})
  target_link_libraries(heddle_cuda PUBLIC heddle_kernels)
  return()
endif()

# sm_80 as machine code and as PTX, from which the driver compiles for anything newer; sm_90a as machine code.
if(NOT CMAKE_CUDA_ARCHITECTURES)
  set(CMAKE_CUDA_ARCHITECTURES 80 90a-real)
endif()
set(CMAKE_CUDA_FLAGS_RELEASE "-O3")
enable_language(CUDA)
if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)  # CMake before 3.26 does not know that nvcc has C++20
  set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
  set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION -std=c++20)
endif()
find_package(CUDAToolkit REQUIRED)
message(STATUS "CUDA: ${CUDAToolkit_VERSION}, ${CMAKE_CUDA_COMPILER}")

file(GLOB CUDA_SOURCES CONFIGURE_DEPENDS kernels/cuda/*.cu kernels/cuda/*.cpp)
add_library(heddle_cuda STATIC ${CUDA_SOURCES})
# Registers that spill to memory and accesses that ptxas has to serialise are errors, as warnings are.
target_compile_options(heddle_cuda PRIVATE
  "$<$<COMPILE_LANGUAGE:CUDA>:SHELL:--expt-relaxed-constexpr -Werror all-warnings -Xptxas --warn-on-spills,--warning-as-error>"
  "$<$<COMPILE_LANGUAGE:CUDA>:SHELL:-Xcompiler -Wall,-Wextra,-Werror>")
# fmt 9 turns constexpr off under nvcc, but not consteval.
target_compile_definitions(heddle_cuda PRIVATE $<$<COMPILE_LANGUAGE:CUDA>:FMT_USE_CONSTEXPR=1>)
target_link_libraries(heddle_cuda PUBLIC heddle_kernels CUDA::cudart_static PRIVATE CUDA::cublasLt)
