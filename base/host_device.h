// Marks formulas that host and device code share, so that one source serves the CPU and CUDA.
#pragma once

#ifdef __CUDACC__
#define SYNCNORM_HOST_DEVICE __host__ __device__
#else
#define SYNCNORM_HOST_DEVICE
#endif
