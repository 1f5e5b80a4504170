/* The register tile of the CPU kernels: PIXELS x 2 vectors of sums, named low0, high0, low1, ... so that they stay in
   registers. EACH(DO) writes DO(0) DO(1) ... . Used with `a`, rows of inputs `apart` floats apart, `k` the step,
   `w_low` and `w_high` the weights of the step, and `kept`, where sums wait for the next chunk. */

#define V (2 * SIMD)

#define EACH_1(DO) DO(0)
#define EACH_2(DO) EACH_1(DO) DO(1)
#define EACH_3(DO) EACH_2(DO) DO(2)
#define EACH_4(DO) EACH_3(DO) DO(3)
#define EACH_5(DO) EACH_4(DO) DO(4)
#define EACH_6(DO) EACH_5(DO) DO(5)
#define EACH_7(DO) EACH_6(DO) DO(6)
#define EACH_8(DO) EACH_7(DO) DO(7)
#define EACH_9(DO) EACH_8(DO) DO(8)
#define EACH_10(DO) EACH_9(DO) DO(9)
#define EACH_11(DO) EACH_10(DO) DO(10)
#define EACH_12(DO) EACH_11(DO) DO(11)
#define EACH_13(DO) EACH_12(DO) DO(12)
#define EACH_14(DO) EACH_13(DO) DO(13)

#if PIXELS == 1
#define EACH EACH_1
#elif PIXELS == 6
#define EACH EACH_6
#elif PIXELS == 14
#define EACH EACH_14
#else
#error "PIXELS must be 1, 6 or 14"
#endif

#define DECLARE(i) VEC low##i, high##i;
#define START(i) low##i = low; high##i = high;
#define RESUME(i) low##i = kept[2 * i]; high##i = kept[2 * i + 1];
#define STEP(i) { const VEC v = (VEC)(a[i * apart + k]); low##i = low##i + v * w_low; high##i = high##i + v * w_high; }
#define KEEP(i) kept[2 * i] = low##i; kept[2 * i + 1] = high##i;
/* The steps of a tile of N whose weights are read in order from `now` on; those that come `soon` are asked for, `pace`
   floats a step: the processor would not foresee them in time. */
#define STREAMED(N, steps) \
  for (int k = 0; k < steps; k++, now += V, soon += pace) { \
    SOON_BLOCK(soon) \
    const VEC w_low = LOAD(now), w_high = LOAD(now + SIMD); \
    EACH_##N(STEP) \
  }

#if RESIDUAL
/* Reads the first `count` of V channels. */
static inline void take(__global const float *z, int count, VEC *low, VEC *high) {
  if (count >= V) {
    *low = LOAD(z);
    *high = LOAD(z + SIMD);
  } else {
    float each[V];
    for (int i = 0; i < V; i++)
      each[i] = i < count ? z[i] : 0.0f;
    *low = LOAD_PRIVATE(each);
    *high = LOAD_PRIVATE(each + SIMD);
  }
}
#endif

/* Writes the first `count` of V channels, which are `stride` elements apart. */
static inline void put(__global float *y, int at, int stride, int count, VEC low, VEC high) {
  if (count >= V && stride == 1) {
    STORE(y + at, low);
    STORE(y + at + SIMD, high);
  } else {
    const bool one_whole = count >= SIMD && stride == 1;
    float each[V];
    if (one_whole)
      STORE(y + at, low);
    else
      STORE_PRIVATE(each, low);
    STORE_PRIVATE(each + SIMD, high);
    for (int i = one_whole ? SIMD : 0; i < min(count, V); i++)
      y[at + i * stride] = each[i];
  }
}
