/* Two axes reduced: out[i2, i1, i0] = scale * sum over (j1, j0) of a, or their largest or smallest element (NaN where
   one is NaN). Extents: r0 (innermost) and r1 of the axes reduced, n0 (innermost) n1 n2 of those kept. a at a_at + j0 * b0 + j1 * b1 + i0 * a0 + i1 * a1 + i2 * a2, out at
   out_at + i0 * o0 + i1 * o1 + i2 * o2. Sums are made of partial sums of up to BLOCK elements, to keep their error low.

   -DREDUCE  0 sum, 1 maximum, 2 minimum
   -DCPU=1  a work-item handles chunk0 indices of axis 0; global id (tile of axis 0, i1, i2). Vectors of LANES elements
            along axis 0 where it is contiguous in a, else along the innermost axis reduced
   -DCPU=0  TEAM work-items (1, or a whole group of a power of two) handle one element of out; one-dimensional global
            id i * TEAM + member, possibly too large; i counts over axes 0, 1 and 2, innermost first */

#pragma OPENCL FP_CONTRACT ON

#if REDUCE == 0
#define START 0.0f
#define TAKE(total, v) total += (v)
#elif REDUCE == 1
#define START (-INFINITY)
#define TAKE(total, v) total = (((v) > total) | ((v) != (v))) ? (v) : total
#else
#define START INFINITY
#define TAKE(total, v) total = (((v) < total) | ((v) != (v))) ? (v) : total
#endif

#define BLOCK 64

#define ARGUMENTS \
    __global float *restrict out, __global const float *restrict a, int out_at, int a_at, int r0, int r1, int n0, int n1, \
    int n2, int b0, int b1, int o0, int o1, int o2, int a0, int a1, int a2, int chunk0, float scale

/* total = all ELEMENT(address), of type T, over the axes reduced */
#define REDUCED(T, total, from, ELEMENT)                             \
    T total = START;                                                 \
    for (int j1 = 0; j1 < r1; ++j1)                                  \
        for (int first = 0; first < r0; first += BLOCK) {            \
            int last = min(first + BLOCK, r0);                       \
            T part = START;                                          \
            for (int j0 = first; j0 < last; ++j0) {                  \
                T value = ELEMENT((from) + j0 * b0 + j1 * b1);       \
                TAKE(part, value);                                   \
            }                                                        \
            TAKE(total, part);                                       \
        }
#define VALUE(at) (*(at))

#if CPU
#include "lanes.cl"

/* All of a box whose innermost axis is contiguous. */
float contiguous(__global const float *restrict a, int r0, int r1, int b1)
{
    lanes_t totals = START;
    float total = START;
    int whole = r0 / LANES * LANES;
    for (int j1 = 0; j1 < r1; ++j1) {
        for (int first = 0; first < whole; first += BLOCK * LANES) {
            int last = min(first + BLOCK * LANES, whole);
            lanes_t part = START;
            for (int j0 = first; j0 < last; j0 += LANES) {
                lanes_t value = LOAD(a + j0 + j1 * b1);
                TAKE(part, value);
            }
            TAKE(totals, part);
        }
        for (int j0 = whole; j0 < r0; ++j0)
            TAKE(total, a[j0 + j1 * b1]);
    }
    float parts[LANES];
    *(__private packed_t *)parts = totals;
    for (int k = 0; k < LANES; ++k)
        TAKE(total, parts[k]);
    return total;
}

__kernel void reduce(ARGUMENTS)
{
    out += out_at + get_global_id(1) * o1 + get_global_id(2) * o2;
    a += a_at + get_global_id(1) * a1 + get_global_id(2) * a2;
    int i = get_global_id(0) * chunk0, end = min(i + chunk0, n0);
    if (a0 == 1 && o0 == 1)
        for (; i + LANES <= end; i += LANES) {
            REDUCED(lanes_t, total, a + i, LOAD);
            *(__global packed_t *)(out + i) = total * scale;
        }
    else if (b0 == 1 && r0 >= LANES)
        for (; i < end; ++i)
            out[i * o0] = contiguous(a + i * a0, r0, r1, b1) * scale;
    for (; i < end; ++i) {
        REDUCED(float, total, a + i * a0, VALUE);
        out[i * o0] = total * scale;
    }
}

#else

__kernel void reduce(ARGUMENTS)
{
    int member = get_global_id(0) % TEAM, index = get_global_id(0) / TEAM;
#if TEAM == 1 /* with a team all members come here: none may leave before a barrier */
    if (index >= n0 * n1 * n2) return;
#endif
    int i0 = index % n0, i1 = index / n0 % n1, i2 = index / n0 / n1;
    __global const float *restrict from = a + a_at + i0 * a0 + i1 * a1 + i2 * a2;
    float total = START;
    for (int j1 = 0; j1 < r1; ++j1) {
        for (int first = member; first < r0; first += BLOCK * TEAM) {
            int last = min(first + BLOCK * TEAM, r0);
            float part = START;
            for (int j0 = first; j0 < last; j0 += TEAM)
                TAKE(part, from[j0 * b0 + j1 * b1]);
            TAKE(total, part);
        }
    }
#if TEAM > 1
    __local float shared[TEAM];
    shared[member] = total;
    for (int step = TEAM / 2; step > 0; step /= 2) {
        barrier(CLK_LOCAL_MEM_FENCE);
        if (member < step)
            TAKE(shared[member], shared[member + step]);
    }
    total = shared[0];
    if (member > 0) return;
#endif
    out[out_at + i0 * o0 + i1 * o1 + i2 * o2] = total * scale;
}

#endif
