# Looks for what the CUDA back end is built from: nvcc, cuDNN, cuBLASLt, and for the communicator
# NCCL. Sets SYNCNORM_HAS_CUDA and enables the language, or says what is missing.
#
# Headers and libraries are the toolkit's, or those of Python's `nvidia` packages. Architectures are
# CMake's own CMAKE_CUDA_ARCHITECTURES, by default machine code for A100 and H100/H200, and PTX that
# newer GPUs compile when they first load it.
set(SYNCNORM_HAS_CUDA FALSE)
if(SYNCNORM_CUDA STREQUAL "OFF")
  message(STATUS "syncnorm: building without CUDA, as asked (-DSYNCNORM_CUDA=OFF)")
  return()
endif()
if(SYNCNORM_CUDA STREQUAL "AUTO" AND SYNCNORM_SANITIZE)
  message(STATUS "syncnorm: building without CUDA, because of the sanitizers; the tests run its kernels on the CPU")
  return()
endif()

set(missing "")
if(NOT DEFINED CMAKE_CUDA_COMPILER)
  # nvcc may stand in the toolkit's usual place without being in PATH.
  find_program(SYNCNORM_NVCC nvcc HINTS /usr/local/cuda/bin)
  mark_as_advanced(SYNCNORM_NVCC)
  if(SYNCNORM_NVCC)
    set(CMAKE_CUDA_COMPILER ${SYNCNORM_NVCC})
  endif()
endif()
include(CheckLanguage)
check_language(CUDA)
if(CMAKE_CUDA_COMPILER)
  if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
    set(CMAKE_CUDA_ARCHITECTURES "80-real;90" CACHE STRING "GPU architectures (90: also PTX)")
  endif()
  enable_language(CUDA)
  if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)  # CMake before 3.26 does not know that nvcc has it
    set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
    set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION -std=c++20)
  endif()
  find_package(CUDAToolkit QUIET)
  if(CMAKE_CUDA_COMPILER_VERSION VERSION_LESS 12.4)
    list(APPEND missing "nvcc 12.4 or newer")
  endif()
else()
  list(APPEND missing "nvcc")
endif()

execute_process(COMMAND python3 -c "import nvidia; print(';'.join(nvidia.__path__))"
  OUTPUT_VARIABLE python_nvidia OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)

# syncnorm_find_nvidia(NAME folder header library): an imported target syncnorm_nvidia_NAME.
function(syncnorm_find_nvidia name folder header library soname)
  set(hints ${CUDAToolkit_LIBRARY_ROOT})
  foreach(path ${python_nvidia})
    list(APPEND hints ${path}/${folder} ${path}/cu13)
  endforeach()
  find_path(SYNCNORM_${name}_INCLUDE ${header} HINTS ${CUDAToolkit_INCLUDE_DIRS} ${hints}
    PATH_SUFFIXES include)
  find_library(SYNCNORM_${name}_LIBRARY NAMES ${library} ${soname}
    HINTS ${CUDAToolkit_LIBRARY_DIR} ${hints} PATH_SUFFIXES lib lib64)
  mark_as_advanced(SYNCNORM_${name}_INCLUDE SYNCNORM_${name}_LIBRARY)
  if(SYNCNORM_${name}_INCLUDE AND SYNCNORM_${name}_LIBRARY)
    add_library(syncnorm_nvidia_${name} INTERFACE)
    target_include_directories(syncnorm_nvidia_${name} SYSTEM INTERFACE ${SYNCNORM_${name}_INCLUDE})
    target_link_libraries(syncnorm_nvidia_${name} INTERFACE ${SYNCNORM_${name}_LIBRARY})
  else()
    set(missing ${missing} ${library} PARENT_SCOPE)
  endif()
endfunction()
syncnorm_find_nvidia(CUDNN cudnn cudnn.h cudnn libcudnn.so.9)
syncnorm_find_nvidia(CUBLASLT cublas cublasLt.h cublasLt libcublasLt.so.13)

if(SYNCNORM_CUDA STREQUAL "ON" OR NOT missing)
  set(required ${missing})
  syncnorm_find_nvidia(NCCL nccl nccl.h nccl libnccl.so.2)
  if(NOT TARGET syncnorm_nvidia_NCCL)
    message(STATUS "syncnorm: NCCL was not found; CUDA on one GPU only")
  endif()
  set(missing ${required})
endif()

if(missing)
  list(JOIN missing ", " missing)
  if(SYNCNORM_CUDA STREQUAL "ON")
    message(FATAL_ERROR "syncnorm: CUDA was asked for (-DSYNCNORM_CUDA=ON), but these are missing: ${missing}")
  endif()
  message(STATUS "syncnorm: building without CUDA, for want of ${missing} (-DSYNCNORM_CUDA=ON to require it)")
else()
  set(SYNCNORM_HAS_CUDA TRUE)
  message(STATUS "syncnorm: building with CUDA ${CMAKE_CUDA_COMPILER_VERSION} for ${CMAKE_CUDA_ARCHITECTURES}")
endif()
