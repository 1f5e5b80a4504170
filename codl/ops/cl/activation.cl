/* Element-wise tails. ACTIVATION is a code of codl/ops/activation.py; p and q are run-time parameters:
   leaky_relu, silu (v * sigmoid(alpha * v)) and elu: p = alpha; clip: p = low, q = high; hard_sigmoid: p = alpha,
   q = beta; selu: p = alpha, q = gamma. Any float vector width. v may be evaluated more than once.

   Comparisons instead of fmax and fmin: they let NaN through, as ONNX Runtime does, and are one instruction each. */

#ifndef ACTIVATION
#define ACTIVATION 0
#endif

/* exp(v) for sums 1 + exp(v). With vectors of a CPU (SIMD) it is 2^n e^r, n the integer nearest to v log2(e), and e^r by
   the polynomial of Cephes' expf (Moshier, 1992): relative error 1e-7; infinity from 88.4 on, and no less than e^-87.
   Everywhere else, exp. */
#if defined(SIMD) && SIMD > 1
#define DEFINE_EXP(T, I) \
  static inline T __attribute__((overloadable)) exp_of(T v) { \
    const T x = v < -87.0f ? (T)(-87.0f) : v > 89.0f ? (T)(89.0f) : v; \
    const T shifted = x * 1.44269504f + 12582912.0f; /* 1.5 * 2^23: rounds, and leaves n in the lowest bits */ \
    const T n = shifted - 12582912.0f; \
    const T r = x - n * 0.693359375f + n * 2.12194440e-4f; \
    T s = r * 1.9875691500e-4f + 1.3981999507e-3f; \
    s = s * r + 8.3334519073e-3f; \
    s = s * r + 4.1665795894e-2f; \
    s = s * r + 1.6666665459e-1f; \
    s = s * r + 5.0000001201e-1f; \
    s = s * (r * r) + r + 1.0f; \
    return s * as_##T((as_##I(shifted) << 23) + (127 << 23)); \
  }
DEFINE_EXP(float, int)
DEFINE_EXP(float4, int4)
DEFINE_EXP(float8, int8)
DEFINE_EXP(float16, int16)
#else
#define exp_of exp
#endif

/* Where low > high the result is high. */
#define RAISE(v, low) ((v) < (low) ? (low) : (v))
#define CLIP(v, low, high) (RAISE(v, low) > (high) ? (high) : RAISE(v, low))

/* log(1 + exp(v)) without overflow. */
#define SOFTPLUS(v) (RAISE(v, 0.0f) + log1p(exp(-fabs(v))))

#if ACTIVATION == 0
#define ACTIVATE(v, p, q) (v)
#elif ACTIVATION == 1
#define ACTIVATE(v, p, q) ((v) < 0.0f ? 0.0f : (v))
#elif ACTIVATION == 2
#define ACTIVATE(v, p, q) ((v) < 0.0f ? (p) * (v) : (v))
#elif ACTIVATION == 3
#define ACTIVATE(v, p, q) CLIP(v, p, q)
#elif ACTIVATION == 4
#define ACTIVATE(v, p, q) (1.0f / (1.0f + exp_of(-(v))))
#elif ACTIVATION == 5
#define ACTIVATE(v, p, q) tanh(v)
#elif ACTIVATION == 6
#define ACTIVATE(v, p, q) ((v) * CLIP((v) * (1.0f / 6.0f) + 0.5f, 0.0f, 1.0f))
#elif ACTIVATION == 7
#define ACTIVATE(v, p, q) CLIP((v) * (p) + (q), 0.0f, 1.0f)
#elif ACTIVATION == 8
#define ACTIVATE(v, p, q) ((v) / (1.0f + exp_of(-(p) * (v))))
#elif ACTIVATION == 9
#define ACTIVATE(v, p, q) (0.5f * (v) * (1.0f + erf((v) * 0.70710678f)))
#elif ACTIVATION == 10
#define ACTIVATE(v, p, q) ((v) / (1.0f + exp_of(-1.5957691f * ((v) + 0.044715f * (v) * (v) * (v)))))
#elif ACTIVATION == 11
#define ACTIVATE(v, p, q) ((v) < 0.0f ? (p) * expm1(v) : (v))
#elif ACTIVATION == 12
#define ACTIVATE(v, p, q) ((q) * ((v) < 0.0f ? (p) * expm1(v) : (v)))
#elif ACTIVATION == 13
#define ACTIVATE(v, p, q) SOFTPLUS(v)
#elif ACTIVATION == 14
#define ACTIVATE(v, p, q) ((v) * tanh(SOFTPLUS(v)))
#elif ACTIVATION == 15
#define ACTIVATE(v, p, q) exp(v)
#elif ACTIVATION == 16
#define ACTIVATE(v, p, q) log(v)
#elif ACTIVATION == 17
#define ACTIVATE(v, p, q) sqrt(v)
#elif ACTIVATION == 18
#define ACTIVATE(v, p, q) ((v) * (v))
#elif ACTIVATION == 19
#define ACTIVATE(v, p, q) (1.0f / (v))
#elif ACTIVATION == 20
#define ACTIVATE(v, p, q) fabs(v)
#elif ACTIVATION == 21
#define ACTIVATE(v, p, q) (-(v))
#elif ACTIVATION == 22
#define ACTIVATE(v, p, q) erf(v)
#elif ACTIVATION == 23
#define ACTIVATE(v, p, q) floor(v)
#elif ACTIVATION == 24
#define ACTIVATE(v, p, q) ceil(v)
#elif ACTIVATION == 25
#define ACTIVATE(v, p, q) sin(v)
#elif ACTIVATION == 26
#define ACTIVATE(v, p, q) cos(v)
#else
#error "unknown ACTIVATION"
#endif
