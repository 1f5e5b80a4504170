/* Explicit vectors of SIMD floats, read and written at any float's address: views need not be aligned, and on
   today's processors the unaligned instruction costs nothing where the address happens to be aligned. */

#if SIMD == 1
#define VEC float
#elif SIMD == 4
#define VEC float4
#elif SIMD == 8
#define VEC float8
#elif SIMD == 16
#define VEC float16
#else
#error "SIMD must be 1, 4, 8 or 16"
#endif

#if SIMD > 1
typedef float UNALIGNED __attribute__((ext_vector_type(SIMD), aligned(4)));

#define LOAD(from) (*(__global const UNALIGNED *)(from))
#define STORE(to, v) (*(__global UNALIGNED *)(to) = (v))
#define LOAD_PRIVATE(from) (*(__private const UNALIGNED *)(from))
#define STORE_PRIVATE(to, v) (*(__private UNALIGNED *)(to) = (v))

/* One vector of channels, of which `n` are wanted; the others may be anything. */
static inline VEC channels_at(__global const float *x, int at, int n, int limit) {
  if (n >= SIMD || at + SIMD <= limit)
    return LOAD(x + at);
  float each[SIMD];
  for (int i = 0; i < SIMD; i++)
    each[i] = i < n ? x[at + i] : 0.0f;
  return LOAD_PRIVATE(each);
}
#endif

/* Weights, float32 or (WEIGHT_BYTES 2) float16, read as a VEC of float32 either way. Where the processor converts, its
   instruction is asked for: vload_half is a call of a function there. */
#if SIMD > 1
#if defined(WEIGHT_BYTES) && WEIGHT_BYTES == 2
typedef half weight_t;
#ifdef __F16C__
typedef half HALVES __attribute__((ext_vector_type(SIMD), aligned(2)));
#define WEIGHTS(from) __builtin_convertvector(*(__global const HALVES *)(from), VEC)
#elif SIMD == 4
#define WEIGHTS(from) vload_half4(0, from)
#elif SIMD == 8
#define WEIGHTS(from) vload_half8(0, from)
#else
#define WEIGHTS(from) vload_half16(0, from)
#endif
#else
typedef float weight_t;
#define WEIGHTS(from) LOAD(from)
#endif
#endif

/* A hint that `from` will be read soon; it may point anywhere. */
#ifdef __has_builtin
#if __has_builtin(__builtin_prefetch)
#define SOON(from) __builtin_prefetch((const __global void *)(from), 0, 3)
#endif
#endif
#ifndef SOON
#define SOON(from)
#endif
/* The same of 2 * SIMD floats; a cache line holds 16. */
#if SIMD == 16
#define SOON_BLOCK(from) { SOON(from); SOON((from) + 16); }
#else
#define SOON_BLOCK(from) { SOON(from); }
#endif
