/* The end of a convolution: the activation, and a tensor `z` that is added before it (RESIDUAL 1) or after it (2).
   Kernels take WITH_RESIDUAL's arguments last: z, and where the first element computed lies in it and how far images,
   rows and columns are apart. Its channels are contiguous, and its groups follow each other as those of y. */

#ifndef RESIDUAL
#define RESIDUAL 0
#endif

#if RESIDUAL
#define WITH_RESIDUAL(...) __VA_ARGS__
#define RESIDUAL_ARGUMENTS , __global const float *restrict z, int z_offset, int z_n, int z_y, int z_x
#else
#define WITH_RESIDUAL(...)
#define RESIDUAL_ARGUMENTS
#endif

#if RESIDUAL == 1
#define TAIL(v, added, p, q) ACTIVATE((v) + (added), p, q)
#elif RESIDUAL == 2
#define TAIL(v, added, p, q) (ACTIVATE(v, p, q) + (added))
#else
#define TAIL(v, added, p, q) ACTIVATE(v, p, q)
#endif
