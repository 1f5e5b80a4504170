/* Softmax over one axis: out = exp(a - max) / sum(exp(a - max)), for every index (i2, i1, i0) of the axes kept.
   Extents: r of the axis, n0 (innermost) n1 n2 of the others; element at X_at + j * rX + i0 * X0 + i1 * X1 + i2 * X2.

   -DCPU=1  a work-item handles chunk0 indices of axis 0; global id (tile of axis 0, i1, i2). Vectors of LANES elements
            along the axis where it is contiguous and long enough, else along axis 0.
   -DCPU=0  TEAM work-items (1, or a whole group of a power of two) handle one index; one-dimensional global id
            i * TEAM + member, possibly too large; i counts over axes 0, 1 and 2, innermost first */

#pragma OPENCL FP_CONTRACT ON

#define ARGUMENTS \
    __global float *restrict out, __global const float *restrict a, int out_at, int a_at, int r, int n0, int n1, int n2, \
    int ro, int o0, int o1, int o2, int ra, int a0, int a1, int a2, int chunk0

#if CPU
#include "lanes.cl"

void scalar(__global float *restrict to, __global const float *restrict from, int r, int ro, int ra)
{
    float high = from[0], sum = 0.0f;
    for (int i = 1; i < r; ++i)
        high = from[i * ra] > high ? from[i * ra] : high;
    for (int i = 0; i < r; ++i) {
        float e = exp(from[i * ra] - high);
        sum += e;
        to[i * ro] = e;
    }
    for (int i = 0; i < r; ++i)
        to[i * ro] /= sum;
}

/* Vectors along a contiguous axis, r >= LANES. */
void along(__global float *restrict to, __global const float *restrict from, int r)
{
    int whole = r / LANES * LANES;
    lanes_t highs = LOAD(from + r - LANES), sums = 0.0f;
    for (int i = 0; i < whole; i += LANES)
        highs = LOAD(from + i) > highs ? LOAD(from + i) : highs;
    float part[LANES];
    *(__private packed_t *)part = highs;
    float high = part[0], sum = 0.0f;
    for (int k = 1; k < LANES; ++k)
        high = part[k] > high ? part[k] : high;
    for (int i = 0; i < whole; i += LANES) {
        lanes_t e = exp(LOAD(from + i) - high);
        sums += e;
        STORE(to + i, e);
    }
    for (int i = whole; i < r; ++i) {
        float e = exp(from[i] - high);
        sum += e;
        to[i] = e;
    }
    sum += sum_of(sums);
    for (int i = 0; i < whole; i += LANES)
        STORE(to + i, LOAD(to + i) / sum);
    for (int i = whole; i < r; ++i)
        to[i] /= sum;
}

/* LANES neighbours of axis 0 at once, each with its own maximum and sum. */
void across(__global float *restrict to, __global const float *restrict from, int r, int ro, int o0, int ra, int a0)
{
    lanes_t high = gather(from, a0), sum = 0.0f;
    for (int i = 1; i < r; ++i) {
        lanes_t value = gather(from + i * ra, a0);
        high = value > high ? value : high;
    }
    for (int i = 0; i < r; ++i) {
        lanes_t e = exp(gather(from + i * ra, a0) - high);
        sum += e;
        scatter(to + i * ro, o0, e);
    }
    for (int i = 0; i < r; ++i)
        scatter(to + i * ro, o0, gather(to + i * ro, o0) / sum);
}

__kernel void softmax(ARGUMENTS)
{
    out += out_at + get_global_id(1) * o1 + get_global_id(2) * o2;
    a += a_at + get_global_id(1) * a1 + get_global_id(2) * a2;
    int i = get_global_id(0) * chunk0, end = min(i + chunk0, n0);
    if (ro == 1 && ra == 1 && r >= LANES) {
        for (; i < end; ++i)
            along(out + i * o0, a + i * a0, r);
    } else {
        for (; i + LANES <= end; i += LANES)
            across(out + i * o0, a + i * a0, r, ro, o0, ra, a0);
    }
    for (; i < end; ++i)
        scalar(out + i * o0, a + i * a0, r, ro, ra);
}

#else

__kernel void softmax(ARGUMENTS)
{
    int member = get_global_id(0) % TEAM, index = get_global_id(0) / TEAM;
#if TEAM == 1 /* with a team all members come here: none may leave before a barrier */
    if (index >= n0 * n1 * n2) return;
#endif
    int i0 = index % n0, i1 = index / n0 % n1, i2 = index / n0 / n1;
    out += out_at + i0 * o0 + i1 * o1 + i2 * o2;
    a += a_at + i0 * a0 + i1 * a1 + i2 * a2;
    float high = a[0], sum = 0.0f;
    for (int i = member; i < r; i += TEAM)
        high = a[i * ra] > high ? a[i * ra] : high;
#if TEAM > 1
    __local float shared[TEAM];
    shared[member] = high;
    for (int step = TEAM / 2; step > 0; step /= 2) {
        barrier(CLK_LOCAL_MEM_FENCE);
        if (member < step)
            shared[member] = shared[member + step] > shared[member] ? shared[member + step] : shared[member];
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    high = shared[0];
    barrier(CLK_LOCAL_MEM_FENCE);
#endif
    for (int i = member; i < r; i += TEAM)
        sum += exp(a[i * ra] - high);
#if TEAM > 1
    shared[member] = sum;
    for (int step = TEAM / 2; step > 0; step /= 2) {
        barrier(CLK_LOCAL_MEM_FENCE);
        if (member < step)
            shared[member] += shared[member + step];
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    sum = shared[0];
#endif
    for (int i = member; i < r; i += TEAM)
        out[i * ro] = exp(a[i * ra] - high) / sum;
}

#endif
