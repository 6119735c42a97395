# The library heddle_cuda: kernels/cuda compiled by nvcc, or, without the CUDA toolkit, kernels/without_cuda, which
# refuses `--device cuda` with the reason. Sets HEDDLE_HAVE_CUDA.
#
# Looked for without being told: nvcc on PATH, in CUDA_HOME or CUDA_PATH, /usr/local/cuda*, /opt/cuda, Debian's and
# Ubuntu's nvidia-cuda-toolkit, and the wheels that `pip install nvidia-cuda-nvcc nvidia-cublas` leaves in a Python
# environment; the headers and libraries there or in the system's folders.
include(CheckLanguage)

# Folders in which a CUDA toolkit, or a part of one, may be; also used to find NCCL.
function(heddle_find_cuda_roots result)
  file(GLOB versions LIST_DIRECTORIES true /usr/local/cuda-*)
  list(SORT versions COMPARE NATURAL ORDER DESCENDING)
  set(roots $ENV{CUDA_HOME} $ENV{CUDA_PATH} /usr/local/cuda ${versions} /opt/cuda /usr/lib/nvidia-cuda-toolkit)
  # Wheels: everything in nvidia/cu13 since CUDA 13, a folder each before.
  set(environments $ENV{VIRTUAL_ENV} $ENV{CONDA_PREFIX})
  find_program(HEDDLE_PYTHON NAMES python3)
  mark_as_advanced(HEDDLE_PYTHON)
  if(HEDDLE_PYTHON)
    execute_process(COMMAND ${HEDDLE_PYTHON} -c "import site, sys; print(';'.join(site.getsitepackages() + [site.getusersitepackages()]))"
      OUTPUT_VARIABLE packages OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  endif()
  foreach(environment ${environments})
    file(GLOB found LIST_DIRECTORIES true ${environment}/lib/python3*/site-packages)
    list(APPEND packages ${found})
  endforeach()
  foreach(folder ${packages})
    file(GLOB found LIST_DIRECTORIES true ${folder}/nvidia/cu1* ${folder}/nvidia/cuda_nvcc ${folder}/nvidia/cuda_runtime
      ${folder}/nvidia/cublas ${folder}/nvidia/nvtx ${folder}/nvidia/nccl)
    list(APPEND roots ${found})
  endforeach()
  set(${result} ${roots} PARENT_SCOPE)
endfunction()

# Sets HEDDLE_HAVE_CUDA, or `missing` to what there is not.
macro(heddle_find_cuda)
  set(missing "")
  find_program(HEDDLE_NVCC nvcc PATHS ${HEDDLE_CUDA_ROOTS} PATH_SUFFIXES bin DOC "CUDA's compiler")
  if(CMAKE_CUDA_COMPILER)
    set(nvcc ${CMAKE_CUDA_COMPILER})
  else()
    set(nvcc ${HEDDLE_NVCC})
  endif()
  get_filename_component(root "${nvcc}" REALPATH)
  get_filename_component(root "${root}/../.." ABSOLUTE)
  set(places HINTS ${root} ${HEDDLE_CUDA_ROOTS})
  # Wheels have libraries without the link that names no version.
  find_path(HEDDLE_CUDART_INCLUDE cuda_runtime.h ${places} PATH_SUFFIXES include targets/x86_64-linux/include)
  find_path(HEDDLE_CUBLASLT_INCLUDE cublasLt.h ${places} PATH_SUFFIXES include targets/x86_64-linux/include)
  find_library(HEDDLE_CUDART NAMES cudart_static ${places} PATH_SUFFIXES lib64 lib targets/x86_64-linux/lib)
  find_library(HEDDLE_CUBLASLT NAMES cublasLt libcublasLt.so.13 libcublasLt.so.12 NAMES_PER_DIR ${places}
    PATH_SUFFIXES lib64 lib targets/x86_64-linux/lib)
  if(NOT nvcc)
    set(missing "nvcc was not found")
  elseif(NOT HEDDLE_CUDART_INCLUDE OR NOT HEDDLE_CUDART)
    set(missing "${nvcc} has no CUDA runtime beside it (cuda_runtime.h, libcudart_static.a)")
  elseif(NOT HEDDLE_CUBLASLT_INCLUDE OR NOT HEDDLE_CUBLASLT)
    set(missing "${nvcc} has no cuBLAS beside it (cublasLt.h, libcublasLt.so)")
  else()
    get_filename_component(library_folder ${HEDDLE_CUDART} DIRECTORY)
    if(NOT EXISTS ${root}/lib64)  # where nvcc looks
      set(ENV{CUDAFLAGS} "$ENV{CUDAFLAGS} -L${library_folder}")
    endif()
    set(ENV{CUDACXX} ${nvcc})
    check_language(CUDA)
    if(NOT CMAKE_CUDA_COMPILER)
      set(missing "${nvcc} does not work with ${CMAKE_CXX_COMPILER} (see CMakeError.log or CMakeConfigureLog.yaml)")
    else()
      enable_language(CUDA)
      if(CMAKE_CUDA_COMPILER_VERSION VERSION_LESS 12)
        set(missing "${nvcc} is of CUDA ${CMAKE_CUDA_COMPILER_VERSION}; heddle needs 12 or newer")
      endif()
    endif()
  endif()
  if(NOT missing)
    set(HEDDLE_HAVE_CUDA ON)
  endif()
endmacro()

set(HEDDLE_HAVE_CUDA OFF)
set(HEDDLE_CUDA_ROOTS "")
if(HEDDLE_CUDA STREQUAL "AUTO" OR HEDDLE_CUDA)
  heddle_find_cuda_roots(HEDDLE_CUDA_ROOTS)
  # sm_80 as machine code and as PTX, from which the driver compiles for anything newer; sm_90a as machine code.
  if(NOT CMAKE_CUDA_ARCHITECTURES)
    set(CMAKE_CUDA_ARCHITECTURES 80 90a-real)
  endif()
  set(CMAKE_CUDA_FLAGS_RELEASE "-O3")
  heddle_find_cuda()
  if(missing AND NOT HEDDLE_CUDA STREQUAL "AUTO")
    message(FATAL_ERROR "HEDDLE_CUDA=${HEDDLE_CUDA}, but ${missing}: set CUDA_HOME or CMAKE_CUDA_COMPILER")
  endif()
else()
  set(missing "HEDDLE_CUDA=${HEDDLE_CUDA}")
endif()

if(NOT HEDDLE_HAVE_CUDA)
  message(STATUS "CUDA: not built, ${missing}")
  file(GLOB WITHOUT_CUDA_SOURCES CONFIGURE_DEPENDS kernels/without_cuda/*.cpp)
  add_library(heddle_cuda STATIC ${WITHOUT_CUDA_SOURCES})
  target_link_libraries(heddle_cuda PUBLIC heddle_kernels)
  return()
endif()
message(STATUS "CUDA: ${CMAKE_CUDA_COMPILER_VERSION}, ${CMAKE_CUDA_COMPILER}, ${HEDDLE_CUBLASLT}")

if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)  # CMake before 3.26 does not know that nvcc has C++20
  set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
  set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION -std=c++20)
endif()
# What .cu files are compiled with. Registers that spill to memory and accesses that ptxas has to serialise are errors,
# as warnings are.
add_library(heddle_nvcc_options INTERFACE)
target_compile_options(heddle_nvcc_options INTERFACE
  "$<$<COMPILE_LANGUAGE:CUDA>:SHELL:--expt-relaxed-constexpr -Werror all-warnings -Xptxas --warn-on-spills,--warning-as-error>"
  "$<$<COMPILE_LANGUAGE:CUDA>:SHELL:-Xcompiler -Wall,-Wextra,-Werror>")
# fmt 9 turns constexpr off under nvcc, but not consteval.
target_compile_definitions(heddle_nvcc_options INTERFACE $<$<COMPILE_LANGUAGE:CUDA>:FMT_USE_CONSTEXPR=1>)

file(GLOB CUDA_SOURCES CONFIGURE_DEPENDS kernels/cuda/*.cu kernels/cuda/*.cpp)
add_library(heddle_cuda STATIC ${CUDA_SOURCES})
target_include_directories(heddle_cuda SYSTEM PUBLIC ${HEDDLE_CUDART_INCLUDE} ${HEDDLE_CUBLASLT_INCLUDE})
# Not the driver's library, which a machine without GPU does not have: the runtime opens it when it is needed.
target_link_libraries(heddle_cuda PUBLIC heddle_kernels ${HEDDLE_CUDART} Threads::Threads ${CMAKE_DL_LIBS} rt
  PRIVATE heddle_nvcc_options ${HEDDLE_CUBLASLT})
