/* Normalisation over one axis: out = (a - mean) / sqrt(variance + epsilon) * scale + shift, for every index (i2, i1, i0)
   of the axes kept; the variance is that of all elements (divided by r). Extents: r of the axis, n0 (innermost) n1 n2 of
   the others; element at X_at + j * rX + i0 * X0 + i1 * X1 + i2 * X2, of scale (s) and shift (t) too. Sums are made of
   partial sums of up to BLOCK elements, to keep their error low.

   -DCPU=1  a work-item handles chunk0 indices of axis 0; global id (tile of axis 0, i1, i2). Vectors of LANES elements
            along the axis where it is contiguous and long enough, else along axis 0.
   -DCPU=0  TEAM work-items (1, or a whole group of a power of two) handle one index; one-dimensional global id
            i * TEAM + member, possibly too large; i counts over axes 0, 1 and 2, innermost first */

#pragma OPENCL FP_CONTRACT ON

#define BLOCK 64
#define ARGUMENTS \
    __global float *restrict out, __global const float *restrict a, __global const float *restrict s, \
    __global const float *restrict t, int out_at, int a_at, int s_at, int t_at, int r, int n0, int n1, int n2, \
    int ro, int o0, int o1, int o2, int ra, int a0, int a1, int a2, int rs, int s0, int s1, int s2, \
    int rt, int t0, int t1, int t2, int chunk0, float epsilon

/* total = the sum of TERM(j), of type T, for j from `start` to r in steps */
#define SUM(T, total, start, step, TERM)                            \
    T total = 0.0f;                                                 \
    for (int first = (start); first < r; first += BLOCK * (step)) { \
        int last = min(first + BLOCK * (step), r);                  \
        T part = 0.0f;                                              \
        for (int j = first; j < last; j += (step))                  \
            part += TERM(j);                                        \
        total += part;                                              \
    }

#if CPU
#include "lanes.cl"

#define VALUE(j) a[(j) * ra]
#define SQUARE(j) ((VALUE(j) - mean) * (VALUE(j) - mean))
void scalar(__global float *restrict out, __global const float *restrict a, __global const float *restrict s,
            __global const float *restrict t, int r, int ro, int ra, int rs, int rt, float epsilon)
{
    SUM(float, total, 0, 1, VALUE);
    float mean = total / r;
    SUM(float, squares, 0, 1, SQUARE);
    float factor = 1.0f / sqrt(squares / r + epsilon);
    for (int j = 0; j < r; ++j)
        out[j * ro] = (a[j * ra] - mean) * factor * s[j * rs] + t[j * rt];
}
#undef VALUE
#undef SQUARE

/* Vectors along a contiguous axis, r >= LANES; scale and shift are contiguous or one number. */
#define VALUE(j) LOAD(a + (j))
#define SQUARE(j) ((LOAD(a + (j)) - mean) * (LOAD(a + (j)) - mean))
#define AT(base, step, j) ((step) ? LOAD((base) + (j)) : (lanes_t)(*(base)))
void along(__global float *restrict out, __global const float *restrict a, __global const float *restrict s,
           __global const float *restrict t, int length, int rs, int rt, float epsilon)
{
    int r = length / LANES * LANES;
    SUM(lanes_t, totals, 0, LANES, VALUE);
    float total = sum_of(totals);
    for (int j = r; j < length; ++j)
        total += a[j];
    float mean = total / length;
    SUM(lanes_t, squares, 0, LANES, SQUARE);
    total = sum_of(squares);
    for (int j = r; j < length; ++j)
        total += (a[j] - mean) * (a[j] - mean);
    float factor = 1.0f / sqrt(total / length + epsilon);
    for (int j = 0; j < r; j += LANES)
        STORE(out + j, (LOAD(a + j) - mean) * factor * AT(s, rs, j) + AT(t, rt, j));
    for (int j = r; j < length; ++j)
        out[j] = (a[j] - mean) * factor * s[j * rs] + t[j * rt];
}
#undef VALUE
#undef SQUARE

/* LANES neighbours of axis 0 at once, each with its own mean and variance. */
#define VALUE(j) gather(a + (j) * ra, a0)
#define SQUARE(j) ((VALUE(j) - mean) * (VALUE(j) - mean))
void across(__global float *restrict out, __global const float *restrict a, __global const float *restrict s,
            __global const float *restrict t, int r, int ro, int o0, int ra, int a0, int rs, int s0, int rt, int t0,
            float epsilon)
{
    SUM(lanes_t, total, 0, 1, VALUE);
    lanes_t mean = total / r;
    SUM(lanes_t, squares, 0, 1, SQUARE);
    lanes_t factor = 1.0f / sqrt(squares / r + epsilon);
    for (int j = 0; j < r; ++j) {
        lanes_t value = (VALUE(j) - mean) * factor * gather(s + j * rs, s0) + gather(t + j * rt, t0);
        scatter(out + j * ro, o0, value);
    }
}

__kernel void normalized(ARGUMENTS)
{
    out += out_at + get_global_id(1) * o1 + get_global_id(2) * o2;
    a += a_at + get_global_id(1) * a1 + get_global_id(2) * a2;
    s += s_at + get_global_id(1) * s1 + get_global_id(2) * s2;
    t += t_at + get_global_id(1) * t1 + get_global_id(2) * t2;
    int i = get_global_id(0) * chunk0, end = min(i + chunk0, n0);
    if (ro == 1 && ra == 1 && (rs == 0 || rs == 1) && (rt == 0 || rt == 1) && r >= LANES) {
        for (; i < end; ++i)
            along(out + i * o0, a + i * a0, s + i * s0, t + i * t0, r, rs, rt, epsilon);
    } else {
        for (; i + LANES <= end; i += LANES)
            across(out + i * o0, a + i * a0, s + i * s0, t + i * t0, r, ro, o0, ra, a0, rs, s0, rt, t0, epsilon);
    }
    for (; i < end; ++i)
        scalar(out + i * o0, a + i * a0, s + i * s0, t + i * t0, r, ro, ra, rs, rt, epsilon);
}

#else

/* The team's sum, in every member. */
#if TEAM > 1
#define SHARE(total)                                    \
    shared[member] = total;                             \
    for (int step = TEAM / 2; step > 0; step /= 2) {    \
        barrier(CLK_LOCAL_MEM_FENCE);                   \
        if (member < step)                              \
            shared[member] += shared[member + step];    \
    }                                                   \
    barrier(CLK_LOCAL_MEM_FENCE);                       \
    total = shared[0];                                  \
    barrier(CLK_LOCAL_MEM_FENCE);
#else
#define SHARE(total)
#endif

#define VALUE(j) a[(j) * ra]
#define SQUARE(j) ((VALUE(j) - mean) * (VALUE(j) - mean))

__kernel void normalized(ARGUMENTS)
{
    int member = get_global_id(0) % TEAM, index = get_global_id(0) / TEAM;
#if TEAM > 1
    __local float shared[TEAM];
#else /* with a team all members come here: none may leave before a barrier */
    if (index >= n0 * n1 * n2) return;
#endif
    int i0 = index % n0, i1 = index / n0 % n1, i2 = index / n0 / n1;
    out += out_at + i0 * o0 + i1 * o1 + i2 * o2;
    a += a_at + i0 * a0 + i1 * a1 + i2 * a2;
    s += s_at + i0 * s0 + i1 * s1 + i2 * s2;
    t += t_at + i0 * t0 + i1 * t1 + i2 * t2;
    SUM(float, total, member, TEAM, VALUE);
    SHARE(total);
    float mean = total / r;
    SUM(float, squares, member, TEAM, SQUARE);
    SHARE(squares);
    float factor = 1.0f / sqrt(squares / r + epsilon);
    for (int j = member; j < r; j += TEAM)
        out[j * ro] = (a[j * ra] - mean) * factor * s[j * rs] + t[j * rt];
}

#endif
