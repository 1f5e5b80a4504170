/* out[i] = a[source(i)], or `value` where an index has no source: padding and nearest-neighbour resizing.

   Boxes, offsets (X_at), extents (n0 innermost ... n5), strides, chunks, LANES and CPU are as in elementwise.cl. On an
   axis k with tk > 0 the source's index is tables[tk - 1 + ik] (absolute; negative: none), with tk = 0 it is ik. */

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

#define SOURCE(k) (t##k ? tables[t##k - 1 + i##k] : i##k)

__kernel void gather(__global float *restrict out, __global const float *restrict a, __global const int *restrict tables,
                     int out_at, int a_at,
                     int n0, int n1, int n2, int n3, int n4, int n5,
                     int o0, int o1, int o2, int o3, int o4, int o5,
                     int a0, int a1, int a2, int a3, int a4, int a5,
                     int t0, int t1, int t2, int t3, int t4, int t5,
                     int chunk0, int chunk1, float value)
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
    int s2 = SOURCE(2), s3 = SOURCE(3), s4 = SOURCE(4), s5 = SOURCE(5);
    int border = s2 < 0 || s3 < 0 || s4 < 0 || s5 < 0;
    out += out_at + i2 * o2 + i3 * o3 + i4 * o4 + i5 * o5;
    a += a_at + s2 * a2 + s3 * a3 + s4 * a4 + s5 * a5;
#if !CPU
    int s0 = SOURCE(0), s1 = SOURCE(1);
    __global packed_t *to = (__global packed_t *)(out + i0 * o0 + i1 * o1);
    if (border || s0 < 0 || s1 < 0)
        *to = (lanes_t)(value);
    else
        *to = *(__global const packed_t *)(a + s0 * a0 + s1 * a1);
#else
    int first0 = get_global_id(0) * chunk0, last0 = min(first0 + chunk0, n0);
    int first1 = get_global_id(1) * chunk1, last1 = min(first1 + chunk1, n1);
    int vectors = o0 == 1 && a0 == 1 && t0 == 0 && n0 >= LANES;
    for (int i1 = first1; i1 < last1; ++i1) {
        int s1 = SOURCE(1);
        __global float *restrict to = out + i1 * o1;
        __global const float *restrict from = a + s1 * a1;
        if (border || s1 < 0) {
            for (int i0 = first0; i0 < last0; ++i0)
                to[i0 * o0] = value;
        } else if (vectors) {
            for (int i = first0; i < last0; i += LANES) {
                int i0 = OVERLAPPING(i, LANES, n0);
                *(__global packed_t *)(to + i0) = *(__global const packed_t *)(from + i0);
            }
        } else {
            for (int i0 = first0; i0 < last0; ++i0) {
                int s0 = SOURCE(0);
                to[i0 * o0] = s0 < 0 ? value : from[s0 * a0];
            }
        }
    }
#endif
}
