/* Element-wise tails. ACTIVATION is a code of codl/ops/activation.py; p and q are run-time parameters:
   leaky_relu: p = alpha; clip: p = low, q = high; hard_sigmoid: p = alpha, q = beta. Any float vector width.

   Comparisons instead of fmax and fmin: they let NaN through, as ONNX Runtime does, and are one instruction each. */

#ifndef ACTIVATION
#define ACTIVATION 0
#endif

/* Where low > high the result is high. */
#define RAISE(v, low) ((v) < (low) ? (low) : (v))
#define CLIP(v, low, high) (RAISE(v, low) > (high) ? (high) : RAISE(v, low))

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
#else
#error "unknown ACTIVATION"
#endif
