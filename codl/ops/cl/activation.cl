/* Element-wise tails. ACTIVATION is a code of codl/ops/activation.py; p and q are run-time parameters:
   leaky_relu: p = alpha; clip: p = low, q = high; hard_sigmoid: p = alpha, q = beta. Any float vector width. */

#ifndef ACTIVATION
#define ACTIVATION 0
#endif

#if ACTIVATION == 0
#define ACTIVATE(v, p, q) (v)
#elif ACTIVATION == 1
#define ACTIVATE(v, p, q) fmax(v, 0.0f)
#elif ACTIVATION == 2 /* any alpha: max(v, 0) + alpha * min(v, 0) */
#define ACTIVATE(v, p, q) (fmax(v, 0.0f) + (p) * fmin(v, 0.0f))
#elif ACTIVATION == 3
#define ACTIVATE(v, p, q) fmin(fmax(v, p), q)
#elif ACTIVATION == 4
#define ACTIVATE(v, p, q) (1.0f / (1.0f + exp(-(v))))
#elif ACTIVATION == 5
#define ACTIVATE(v, p, q) tanh(v)
#elif ACTIVATION == 6
#define ACTIVATE(v, p, q) ((v) * fmin(fmax((v) * (1.0f / 6.0f) + 0.5f, 0.0f), 1.0f))
#elif ACTIVATION == 7
#define ACTIVATE(v, p, q) fmin(fmax((v) * (p) + (q), 0.0f), 1.0f)
#else
#error "unknown ACTIVATION"
#endif
