/* The register tile of the CPU kernels: PIXELS x 2 vectors of sums, named low0, high0, low1, ... so that they stay in
   registers. EACH(DO) writes DO(0) DO(1) ... . Used with `a`, rows of inputs ROW floats apart, `k` the step,
   `w_low` and `w_high` the weights of the step, and `kept`, where sums wait for the next chunk. */

#define V (2 * SIMD)

#if PIXELS == 1
#define EACH(DO) DO(0)
#elif PIXELS == 6
#define EACH(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5)
#elif PIXELS == 14
#define EACH(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8) DO(9) DO(10) DO(11) DO(12) DO(13)
#else
#error "PIXELS must be 1, 6 or 14"
#endif

#define DECLARE(i) VEC low##i, high##i;
#define START(i) low##i = low; high##i = high;
#define RESUME(i) low##i = kept[2 * i]; high##i = kept[2 * i + 1];
#define STEP(i) { const VEC v = (VEC)(a[i * ROW + k]); low##i = low##i + v * w_low; high##i = high##i + v * w_high; }
#define KEEP(i) kept[2 * i] = low##i; kept[2 * i + 1] = high##i;

/* Writes the first `count` of V channels, which are `stride` elements apart. */
static inline void put(__global float *y, int at, int stride, int count, VEC low, VEC high) {
  if (count >= V && stride == 1) {
    STORE(y + at, low);
    STORE(y + at + SIMD, high);
  } else {
    float each[V];
    STORE_PRIVATE(each, low);
    STORE_PRIVATE(each + SIMD, high);
    for (int i = 0; i < min(count, V); i++)
      y[at + i * stride] = each[i];
  }
}
