/* Linear interpolation along one or two axes of a box (n3, n2, n1, n0): out[i3, i2, i1, i0] is the mean of the sources
   (low or high of i2, low or high of i1) at i3 and i0, weighted with w and 1 - w. For feature maps in NHWC n0 = C,
   n1 = W, n2 = H, n3 = N.

   tables: int indices; for output index i of axis 1 the sources are tables[low1 + i] and tables[high1 + i] (absolute),
   with weights[low1 + i] on the second; the same for axis 2, where low2 < 0 says that i2 is not interpolated.
   Element lies at X_at + sum(index * stride).

   -DCPU=1  a work-item handles chunk1 indices of axis 1; global id (tile of axis 1, i2, i3); vectors of LANES elements
   -DCPU=0  a work-item handles one element; one-dimensional global id, possibly too large */

#pragma OPENCL FP_CONTRACT ON
#include "overlap.cl"

#if LANES == 16
typedef float16 lanes_t;
#elif LANES == 8
typedef float8 lanes_t;
#else
typedef float4 lanes_t;
#endif
typedef lanes_t packed_t __attribute__((aligned(4)));

#define MIX(x, y, w) ((x) * (1.0f - (w)) + (y) * (w))
#define LOAD(at) (*(__global const packed_t *)(at))

__kernel void linear(__global float *restrict out, __global const float *restrict a, __global const int *restrict tables,
                     __global const float *restrict weights, int out_at, int a_at,
                     int n0, int n1, int n2, int n3, int o0, int o1, int o2, int o3, int a0, int a1, int a2, int a3,
                     int low1, int high1, int low2, int high2, int chunk1)
{
#if CPU
    int i2 = get_global_id(1), i3 = get_global_id(2);
#else
    int rest = get_global_id(0);
    int i0 = rest % n0;
    rest /= n0;
    int i1 = rest % n1;
    rest /= n1;
    int i2 = rest % n2;
    int i3 = rest / n2;
    if (i3 >= n3) return;
#endif
    int top = low2 < 0 ? i2 : tables[low2 + i2];
    int bottom = low2 < 0 ? i2 : tables[high2 + i2];
    float down = low2 < 0 ? 0.0f : weights[low2 + i2];
    __global const float *restrict upper = a + a_at + i3 * a3 + top * a2;
    __global const float *restrict lower = a + a_at + i3 * a3 + bottom * a2;
    out += out_at + i3 * o3 + i2 * o2;
#if CPU
    int vectors = o0 == 1 && a0 == 1 && n0 >= LANES;
    int first = get_global_id(0) * chunk1, last = min(first + chunk1, n1);
    for (int i1 = first; i1 < last; ++i1) {
#endif
        int left = tables[low1 + i1] * a1, right = tables[high1 + i1] * a1;
        float along = weights[low1 + i1];
        __global float *restrict to = out + i1 * o1;
#if CPU
        if (vectors) {
            for (int i = 0; i < n0; i += LANES) {
                int i0 = OVERLAPPING(i, LANES, n0);
                lanes_t x = MIX(LOAD(upper + left + i0), LOAD(upper + right + i0), along);
                lanes_t y = MIX(LOAD(lower + left + i0), LOAD(lower + right + i0), along);
                *(__global packed_t *)(to + i0) = MIX(x, y, down);
            }
        } else
            for (int i0 = 0; i0 < n0; ++i0)
#endif
            {
                float x = MIX(upper[left + i0 * a0], upper[right + i0 * a0], along);
                float y = MIX(lower[left + i0 * a0], lower[right + i0 * a0], along);
                to[i0 * o0] = MIX(x, y, down);
            }
#if CPU
    }
#endif
}
