/* Winograd's transforms for TAPS taps and OUT outputs, along one column or row of VECs: TRANSFORM_INPUT is B' of IN inputs,
   TRANSFORM_OUTPUT is A' of IN sums. Points 0, 1, -1 (IN = 4) or 0, P, -P, Q, -Q (6), and infinity, as in
   codl/ops/winograd.py. Row p of B' holds the coefficients of the polynomial with all the points but p as its roots, row
   i of A' the points' powers i; p and -p share what they have in common. */

#define IN (OUT + TAPS - 1)

#if IN == 4
#define TRANSFORM_INPUT(t, d) \
  t[0] = d[2] - d[0]; t[1] = d[2] + d[1]; t[2] = d[2] - d[1]; t[3] = d[3] - d[1];
#define TRANSFORM_OUTPUT(t, d) \
  t[0] = d[0] + d[1] + d[2]; t[1] = d[1] - d[2] + d[3];
#elif IN == 6
#define P 0.70710678f
#define Q 1.41421356f
#define P2 0.5f
#define Q2 2.0f
#define TRANSFORM_INPUT(t, d) { \
  const VEC p_even = d[4] - Q2 * d[2], p_odd = P * (d[3] - Q2 * d[1]); \
  const VEC q_even = d[4] - P2 * d[2], q_odd = Q * (d[3] - P2 * d[1]); \
  t[0] = P2 * Q2 * d[0] - (P2 + Q2) * d[2] + d[4]; \
  t[1] = p_even + p_odd; t[2] = p_even - p_odd; t[3] = q_even + q_odd; t[4] = q_even - q_odd; \
  t[5] = P2 * Q2 * d[1] - (P2 + Q2) * d[3] + d[5]; }
#define TRANSFORM_OUTPUT(t, d) { \
  const VEC p_sum = d[1] + d[2], p_rest = P * (d[1] - d[2]), q_sum = d[3] + d[4], q_rest = Q * (d[3] - d[4]); \
  t[0] = d[0] + p_sum + q_sum; t[1] = p_rest + q_rest; t[2] = P2 * p_sum + Q2 * q_sum; \
  LAST_OUTPUT(t, d) }
#if OUT == 3
#define LAST_OUTPUT(t, d) t[2] += d[5];
#else
#define LAST_OUTPUT(t, d) t[3] = P2 * p_rest + Q2 * q_rest + d[5];
#endif
#endif
