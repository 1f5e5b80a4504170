/* out[o(i)] = ACTIVATE(a[a(i)] BINARY b[b(i)]) for every index i = (i5, ..., i0) of a box with extents n5 ... n0;
   o, a and b are linear: element i lies at X_at + i0 * X0 + ... + i5 * X5. Strides may be 0 (broadcasting).

   -DBINARY  of combine.cl; 0 none (no operand b)
   -DACTIVATION  of activation.cl, with parameters p and q
   -DCPU=1   a work-item handles a tile of chunk0 x chunk1 elements of axes 0 and 1; global id (tile of axis 0, tile of
             axis 1, index over axes 2 ... 5). Vectors of LANES elements lie anywhere.
   -DCPU=0   a work-item handles LANES elements of axis 0; one-dimensional global id, possibly too large. With LANES 4
             all vectors are aligned, n0 is a multiple of 4 and the strides of axis 0 are 0 or 1 (1 for out). */

#pragma OPENCL FP_CONTRACT ON
#include "activation.cl"
#include "combine.cl"
#include "overlap.cl"

#if LANES == 16
typedef float16 lanes_t;
#elif LANES == 8
typedef float8 lanes_t;
#elif LANES == 4
typedef float4 lanes_t;
#else
typedef float lanes_t;
#endif
#if CPU
typedef lanes_t packed_t __attribute__((aligned(4)));
#else
typedef lanes_t packed_t;
#endif

/* One value of a lane type: T is float or lanes_t; X and Y are expressions of that type. */
#if BINARY
#define COMPUTE(T, X, Y) T u = X, v = Y; T w = COMBINE(u, v)
#else
#define COMPUTE(T, X, Y) T w = X
#endif

#if BINARY
#define SECOND_OPERAND , __global const float *restrict b, int b_at, int b0, int b1, int b2, int b3, int b4, int b5
#else
#define SECOND_OPERAND
#endif

#define LOAD(base, i, stride) ((stride) ? *(__global const packed_t *)((base) + (i)) : (lanes_t)(*(base)))

__kernel void map(__global float *restrict out, __global const float *restrict a,
                  int out_at, int a_at,
                  int n0, int n1, int n2, int n3, int n4, int n5,
                  int o0, int o1, int o2, int o3, int o4, int o5,
                  int a0, int a1, int a2, int a3, int a4, int a5,
                  int chunk0, int chunk1, float p, float q
                  SECOND_OPERAND)
{
#if CPU
    int rest = get_global_id(2);
#else
    int rest = get_global_id(0);
    int m0 = n0 / LANES;
    int i0 = rest % m0 * LANES;
    rest /= m0;
    int i1 = rest % n1;
    rest /= n1;
#endif
    int i2 = rest % n2;
    rest /= n2;
    int i3 = rest % n3;
    rest /= n3;
    int i4 = rest % n4;
    int i5 = rest / n4;
#if !CPU
    if (i5 >= n5) return;
#endif
    out += out_at + i2 * o2 + i3 * o3 + i4 * o4 + i5 * o5;
    a += a_at + i2 * a2 + i3 * a3 + i4 * a4 + i5 * a5;
    WITH_B(b += b_at + i2 * b2 + i3 * b3 + i4 * b4 + i5 * b5;)
#if !CPU
    out += i0 * o0 + i1 * o1;
    a += i0 * a0 + i1 * a1;
    WITH_B(b += i0 * b0 + i1 * b1;)
    COMPUTE(lanes_t, LOAD(a, 0, a0), LOAD(b, 0, b0));
    *(__global packed_t *)out = ACTIVATE(w, p, q);
#else
    int first0 = get_global_id(0) * chunk0, last0 = min(first0 + chunk0, n0);
    int first1 = get_global_id(1) * chunk1, last1 = min(first1 + chunk1, n1);
    int vectors = o0 == 1 && (a0 == 0 || a0 == 1) WITH_B(&& (b0 == 0 || b0 == 1)) && n0 >= LANES;
    for (int i1 = first1; i1 < last1; ++i1) {
        __global float *restrict to = out + i1 * o1;
        __global const float *restrict from = a + i1 * a1;
        WITH_B(__global const float *restrict with = b + i1 * b1;)
        if (vectors) {
            for (int i = first0; i < last0; i += LANES) {
                int i0 = OVERLAPPING(i, LANES, n0);
                COMPUTE(lanes_t, LOAD(from, i0, a0), LOAD(with, i0, b0));
                *(__global packed_t *)(to + i0) = ACTIVATE(w, p, q);
            }
        } else {
            for (int i0 = first0; i0 < last0; ++i0) {
                COMPUTE(float, from[i0 * a0], with[i0 * b0]);
                to[i0 * o0] = ACTIVATE(w, p, q);
            }
        }
    }
#endif
}
