/* Element-wise tails. ACTIVATION is a code of codl/ops/activation.py; p and q are run-time parameters:
   leaky_relu, silu (v * sigmoid(alpha * v)) and elu: p = alpha; clip: p = low, q = high; hard_sigmoid: p = alpha,
   q = beta; selu: p = alpha, q = gamma. Any float vector width. v may be evaluated more than once.

   Comparisons instead of fmax and fmin: they let NaN through, as ONNX Runtime does, and are one instruction each. */

#ifndef ACTIVATION
#define ACTIVATION 0
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
#define ACTIVATE(v, p, q) (1.0f / (1.0f + exp(-(v))))
#elif ACTIVATION == 5
#define ACTIVATE(v, p, q) tanh(v)
#elif ACTIVATION == 6
#define ACTIVATE(v, p, q) ((v) * CLIP((v) * (1.0f / 6.0f) + 0.5f, 0.0f, 1.0f))
#elif ACTIVATION == 7
#define ACTIVATE(v, p, q) CLIP((v) * (p) + (q), 0.0f, 1.0f)
#elif ACTIVATION == 8
#define ACTIVATE(v, p, q) ((v) / (1.0f + exp(-(p) * (v))))
#elif ACTIVATION == 9
#define ACTIVATE(v, p, q) (0.5f * (v) * (1.0f + erf((v) * 0.70710678f)))
#elif ACTIVATION == 10
#define ACTIVATE(v, p, q) ((v) / (1.0f + exp(-1.5957691f * ((v) + 0.044715f * (v) * (v) * (v)))))
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
