/* The model of the codec `mixed`: see mixed.h; where it starts: mixed_start.c. */
#include "mixed.h"

#include <string.h>

enum { KNOWN = 400, TOP_BITS = 2, RAW_BITS = 2, FORGET = 2000, FORGET_ALL = 1 << 20 };

/* Values around a weight: beside it in the kernel and above, at its place in the channel before, the filter before, and the channel
 * before that one. */
enum { LEFT, UP, CORNER, CHANNEL, FILTER, RIGHT_ABOVE, CHANNEL_EARLIER };

/* Curves -------------------------------------------------------------------------------------------- */

static double log_of(const rt_mixed *m, double x) {
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    return (double)((int32_t)(bits >> 52 & 2047) - 1023) + m->logs[bits >> 44 & 255];
}

static double bell(const double *table, double z) {
    double at = (z + 8) * 64;
    if (!(at > 0)) return table[0];
    if (at >= 1024) return table[1024];
    int i = (int)at;
    return table[i] + (table[i + 1] - table[i]) * (at - i);
}

/* The logit of landing above `mid`, between the values of a distribution function. */
static int32_t logit_between(const rt_mixed *m, double low, double mid, double high) {
    double all = high - low;
    if (!(all > 1e-9)) return 0;
    int32_t chance = (int32_t)((high - mid) / all * 4096);
    return m->logits[chance < 8 ? 8 : chance > 4087 ? 4087 : chance];
}

/* Decisions ----------------------------------------------------------------------------------------- */

typedef struct question {
    rt_counter *counters[RT_OPINIONS];
    int32_t curves[RT_CURVES + 1]; /* opinions of the bell curves, and of what is past a filter's least size */
    int32_t *weights;
    int count, curved; /* counters and curves that are asked */
} question;

static void learn(const rt_mixed *m, rt_counter *c, uint32_t bit) {
    uint32_t seen = *c & 1023, chance = *c >> 10;
    int64_t miss = ((int64_t)bit << 22) - chance;
    chance = (uint32_t)(chance + (miss * m->shares[seen] >> 16));
    *c = chance << 10 | (seen < KNOWN ? seen + 1 : seen);
}

static uint32_t decide(rt_mixed *m, rt_coder *coder, const question *q, uint32_t bit, int32_t pace) {
    int32_t opinions[RT_OPINIONS], all = q->count + q->curved;
    int64_t sum = 0;
    for (int i = 0; i < q->count; i++) opinions[i] = m->logits[*q->counters[i] >> 20];
    for (int i = 0; i < q->curved; i++) opinions[q->count + i] = q->curves[i];
    for (int i = 0; i < all; i++) sum += (int64_t)q->weights[i] * opinions[i];
    sum >>= 16;
    int32_t chance = m->chances[(sum > 2047 ? 2047 : sum < -2047 ? -2047 : sum) + 2048];
    bit = coder->code(coder, (uint32_t)chance, bit);
    int64_t miss = (int64_t)(((int32_t)bit << 16) - chance) * pace;
    for (int i = 0; i < all; i++) {
        int64_t weight = q->weights[i] + ((opinions[i] * miss + (1 << 17)) >> 18);
        q->weights[i] = (int32_t)(weight > 1 << 20 ? 1 << 20 : weight < -(1 << 20) ? -(1 << 20) : weight);
    }
    for (int i = 0; i < q->count; i++) learn(m, q->counters[i], bit);
    return bit;
}

/* How fast weights of opinions learn: less and less. */
static int32_t pace_of(const rt_mixed *m) { return 2 + m->pace * 1000 / (int32_t)(1000 + m->steps); }

/* What is expected ---------------------------------------------------------------------------------- */

/* The taps of a filter and channel are known: how taps go together, and now and then what foretells each. */
static void solve(rt_mixed *m) {
    uint32_t n = m->taps_of_kernel;
    double ridge = 0;
    for (uint32_t i = 0; i < n; i++) ridge += m->products[i][i];
    ridge = ridge / n * m->ridge / m->kernels + 1;
    double pivots[RT_TAPS];
    for (uint32_t k = 0; k < n; k++) {
        double row[RT_TAPS], own = m->products[k][k] + ridge;
        for (uint32_t j = 0; j < k; j++) {
            double sum = m->products[k][j];
            for (uint32_t i = 0; i < j; i++) sum -= row[i] * pivots[i] * m->products[i][j];
            row[j] = sum / pivots[j];
            own -= row[j] * row[j] * pivots[j];
            m->products[j][k] = row[j];
        }
        pivots[k] = own > 1 ? own : 1;
        for (uint32_t j = k; j-- > 0;) {
            double sum = row[j];
            for (uint32_t i = j + 1; i < k; i++) sum -= m->products[j][i] * m->foretell[k][i];
            m->foretell[k][j] = sum;
        }
    }
}

static void end_kernel(rt_mixed *m) {
    for (uint32_t i = 0; i < m->taps_of_kernel; i++)
        for (uint32_t j = 0; j <= i; j++) m->products[i][j] += (double)(m->kernel[i] * m->kernel[j]);
    if (++m->kernels < m->next_solution) return;
    m->next_solution = m->kernels + m->kernels / 8 + 1;
    solve(m);
}

static double relative(const rt_mixed *m, double rest, double count, double doubt, double mean, double log) {
    return log_of(m, rest + mean * doubt) - log_of(m, count + doubt) - log;
}

/* The middle and the width of the curves. */
static void expect(rt_mixed *m, const rt_seen *filter, const rt_seen *channel, const rt_seen *tap, uint32_t number) {
    int64_t sum = 0;
    for (int i = 0; i < RT_AROUND; i++) sum += (int64_t)m->around_weights[i] * m->around[i];
    m->expected8 = sum >> 13;
    m->expected = (double)m->expected8 / 8;
    if (m->taps_of_kernel <= RT_TAPS) {
        m->expected = 0;
        for (uint32_t i = 0; i < number; i++) m->expected += m->foretell[number][i] * m->kernel[i];
    }
    double mean = m->all.rest / m->all.count, log = log_of(m, mean);
    m->features[0] = 1;
    m->features[1] = log;
    m->features[2] = relative(m, filter->rest, filter->count, 4, mean, log);
    m->features[3] = relative(m, channel->rest, channel->count, 4, mean, log);
    m->features[4] = relative(m, tap->rest, tap->count, 8, mean, log);
    m->features[5] = relative(m, m->kernel_rest, number, 1.5, mean, log);
    double width = 0;
    for (int i = 0; i < RT_WIDTHS; i++) width += m->widths[i] * m->features[i];
    m->inverse = rt_power(m, width < -3 ? 3 : width > 7 ? -7 : -width);
}

static double curve(const rt_mixed *m, int which, double x) { return bell(m->bells[which], (x - m->expected) * m->inverse); }

/* How sizes of a filter lie, from its least so far on: half as many every so far; a smaller one may be yet to come. */
static void find_tail(rt_mixed *m, const rt_seen *filter) {
    double past = m->mean * (0.45 * 3 / 16), seen = filter->nonzero, least = filter->least;
    if (filter->least) past += filter->sum - seen * least;
    else {
        seen = 0;
        least = m->filters_done > 0 ? m->leasts / m->filters_done : m->mean * (0.55 / 16);
    }
    m->tail.least = least - 0.5;
    m->tail.share = (seen + 2) / (seen + 3);
    m->tail.above = 1.25 * (seen + 3) / past;
    m->tail.below = m->tail.above * (seen + 1);
}

/* The share of sizes from x on. */
static double tail(const rt_mixed *m, double x) {
    double z = x - m->tail.least;
    int above = z >= 0;
    z *= above ? -m->tail.above : m->tail.below;
    double share = rt_power(m, z < -15 ? -15.0 : z);
    return above ? m->tail.share * share : 1 - (1 - m->tail.share) * share;
}

static uint32_t log4(uint32_t sixteenths) { /* in quarters of an octave */
    if (sixteenths < 16) return 0;
    uint32_t log = 31 - (uint32_t)__builtin_clz(sixteenths);
    uint32_t class = (log - 4) * 4 + (sixteenths >> (log - 2) & 3);
    return class < RT_CLASSES ? class : RT_CLASSES - 1;
}

static uint32_t size_of(int32_t x) { return (uint32_t)(x < 0 ? -x : x); }

static uint32_t mean_of(const rt_seen *seen, uint32_t mean) {
    return ((seen->sum << 4) + mean * 2) / (seen->nonzero + 2);
}

/* Mean sizes of what is not zero: of all, and of what lies around. */
static void look_around(rt_mixed *m) {
    const int32_t *a = m->around;
    m->mean = (m->all.sum << 4) / m->all.nonzero;
    uint32_t sum = 2 * m->kernel_sum + size_of(a[LEFT]) + size_of(a[UP]) + size_of(a[CHANNEL]) + size_of(a[FILTER]);
    uint32_t count = 2 * m->kernel_nonzero + (a[LEFT] != 0) + (a[UP] != 0) + (a[CHANNEL] != 0) + (a[FILTER] != 0);
    m->near = ((sum << 4) + m->mean * 2) / (count + 2);
}

/* Weights ------------------------------------------------------------------------------------------- */

typedef struct position {
    rt_seen *filter, *channel, *tap;
    uint32_t number;                                 /* of the tap in its kernel */
    uint32_t of_filter, of_channel, of_near, of_all; /* classes of mean sizes: of each, and of what they say together */
} position;

static uint32_t share_class(const rt_mixed *m, const rt_seen *seen) { /* of what is not zero, 0 to 31 */
    uint32_t share = (uint32_t)((2 * (uint64_t)seen->nonzero + 1) * 4094 / (2 * (uint64_t)seen->count + 2)) + 1;
    return (uint32_t)(m->logits[share > 4095 ? 4095 : share] + 2048) >> 7;
}

static uint32_t is_there(rt_mixed *m, rt_coder *coder, const position *p, uint32_t there) {
    const int32_t *a = m->around;
    uint32_t filter = share_class(m, p->filter), channel = share_class(m, p->channel), zeros = m->kernel_zero;
    uint32_t others = p->number - zeros, beside = 0;
    static const int order[6] = {LEFT, UP, CHANNEL, FILTER, CORNER, CHANNEL_EARLIER};
    for (int i = 0; i < 6; i++) beside |= (uint32_t)(a[order[i]] != 0) << i;
    question q = {{&m->zeros[0][0], &m->zeros[1][filter], &m->zeros[2][channel], &m->zeros[3][beside],
                   &m->zeros[4][(zeros > 7 ? 7 : zeros) * 8 + (others > 7 ? 7 : others)], &m->zeros[5][p->number & 63],
                   &m->zeros[6][p->of_all], &m->zeros[7][(filter >> 2) * 8 + (channel >> 2)]},
                  {0}, m->zero_weights, RT_ZERO_SETS, RT_CURVES};
    for (int which = 0; which < RT_CURVES; which++)
        q.curves[which] = logit_between(m, 0, curve(m, which, 0.5) - curve(m, which, -0.5), 1);
    return decide(m, coder, &q, there, pace_of(m));
}

static uint32_t three(int32_t a, int32_t b, int32_t c) {
    return (uint32_t)((a > 0) - (a < 0) + 1 + 3 * ((b > 0) - (b < 0) + 1) + 9 * ((c > 0) - (c < 0) + 1));
}

static int32_t leaning(const rt_mixed *m) { /* of the values around: how far they speak for a sign, -8 to 7 */
    int64_t size = m->expected8 < 0 ? -m->expected8 : m->expected8, step = size * 4 / (m->near + 8);
    return (int32_t)(step > 7 ? 7 : step);
}

static uint32_t is_negative(rt_mixed *m, rt_coder *coder, const position *p, uint32_t negative) {
    const int32_t *a = m->around;
    uint32_t lean = (uint32_t)(m->expected8 < 0 ? 7 - leaning(m) : 8 + leaning(m));
    question q = {{&m->signs[0][lean], &m->signs[1][three(a[LEFT], a[UP], a[CHANNEL])],
                   &m->signs[2][three(a[CORNER], a[FILTER], a[RIGHT_ABOVE])], &m->signs[3][p->number & 63]},
                  {0}, m->sign_weights, RT_SIGN_SETS, RT_CURVES};
    for (int which = 0; which < RT_CURVES; which++) {
        double above = 1 - curve(m, which, 0.5);
        q.curves[which] = logit_between(m, 0, above, above + curve(m, which, -0.5));
    }
    return decide(m, coder, &q, negative, pace_of(m));
}

/* The size less one, bit by bit. Where it may yet be the largest, which each filter has once as a rule, that counts. */
static uint32_t size_less_one(rt_mixed *m, rt_coder *coder, const position *p, int negative, uint32_t size) {
    int32_t lean = leaning(m);
    lean = ((negative == (m->expected8 < 0) ? lean : -lean) + 8) >> 2;
    uint32_t least = p->filter->least, found = 0;
    least = least > 15 ? 16 + (least >> 4) : least;
    uint32_t mixed = (p->of_all >> 2) * 4 + (uint32_t)(lean > 3 ? 3 : lean);
    double sign = negative ? -1 : 1, low[RT_CURVES + 1], high[RT_CURVES + 1];
    for (int which = 0; which < RT_CURVES; which++) {
        low[which] = sign * curve(m, which, sign * 0.5);
        high[which] = sign * curve(m, which, sign * (0.5 + (1 << m->bits)));
    }
    find_tail(m, p->filter);
    low[RT_CURVES] = -tail(m, 0.5);
    high[RT_CURVES] = -tail(m, 0.5 + (1 << m->bits));
    for (int bit = (int)m->bits - 1; bit >= 0; bit--) {
        uint32_t node = 1u << (6 - bit) | found >> (bit + 1);
        double middle = sign * (found + (1u << bit) + 0.5), mid[RT_CURVES + 1];
        question q = {{&m->whole[node], &m->sizes[0][p->of_filter][node], &m->sizes[1][p->of_channel][node],
                       &m->sizes[2][p->of_near][node], &m->sizes[3][p->of_all][node], &m->sizes[4][least][node],
                       &m->sizes[5][mixed][node]},
                      {0}, m->size_weights[bit], RT_SIZE_SETS + 1, RT_CURVES + 1};
        int32_t pace = pace_of(m);
        for (int which = 0; which < RT_CURVES; which++) {
            mid[which] = sign * curve(m, which, middle);
            q.curves[which] = logit_between(m, low[which], mid[which], high[which]);
        }
        mid[RT_CURVES] = -tail(m, found + (1u << bit) + 0.5);
        q.curves[RT_CURVES] = logit_between(m, low[RT_CURVES], mid[RT_CURVES], high[RT_CURVES]);
        if ((m->dense || m->bits == 7) && bit <= TOP_BITS && found >> (bit + 1) == (m->largest - 1) >> (bit + 1)) {
            q.counters[0] = &m->tops[m->reached][node];
            q.count = 1;
            q.curved = RT_CURVES;
            q.weights = m->top_weights[m->reached];
            pace = 10;
        } else if (m->dense && bit < RAW_BITS) {
            q.count = 0;
            q.weights += RT_SIZE_SETS + 1;
        }
        uint32_t up = decide(m, coder, &q, size >> bit & 1, pace);
        found |= up << bit;
        for (int which = 0; which <= RT_CURVES; which++) (up ? low : high)[which] = mid[which];
    }
    return found;
}

/* Halves what was seen once there are more than `most`. */
static void count(rt_seen *seen, uint32_t size, double rest, uint32_t most) {
    seen->sum += size;
    seen->count++;
    seen->nonzero += size != 0;
    seen->rest += rest;
    if (size && (!seen->least || size < seen->least)) seen->least = size;
    if (seen->count <= most) return;
    seen->sum >>= 1;
    seen->count >>= 1;
    seen->nonzero >>= 1;
    seen->rest *= 0.5;
}

static void learn_width(rt_mixed *m, double rest) {
    double miss = (rest + 0.25) * m->inverse - 1, pace = 0.02 / (1 + m->steps * 0.01);
    miss = miss > 2 ? 2 : miss;
    pace = pace < 0.002 ? 0.002 : pace;
    for (int i = 0; i < RT_WIDTHS; i++) m->widths[i] += pace * miss * m->features[i] * (i == 1 ? 0.05 : 1);
}

static void learn_around(rt_mixed *m, int32_t value) {
    int64_t miss = (int64_t)value * 8 - m->expected8, energy = 0;
    for (int i = 0; i < RT_AROUND; i++) energy += m->around[i] * m->around[i];
    energy = energy * 4 + (int64_t)((uint64_t)m->mean * m->mean >> 8) * 40 + 16;
    double step = (double)(miss * 64) / (double)energy;
    for (int i = 0; i < RT_AROUND; i++) m->around_weights[i] += (int32_t)(m->around[i] * step);
}

static void learn_all(rt_mixed *m, const position *p, int32_t value) {
    double rest = value - m->expected;
    uint32_t size = size_of(value);
    rest = rest < 0 ? -rest : rest;
    learn_width(m, rest);
    learn_around(m, value);
    rest += 0.1;
    count(p->filter, size, rest, FORGET);
    count(p->channel, size, rest, FORGET);
    count(p->tap, size, rest, FORGET);
    count(&m->all, size, rest, FORGET_ALL);
    m->kernel_rest += rest;
    m->kernel_sum += size;
    m->kernel_nonzero += size != 0;
    m->kernel_zero += size == 0;
    m->reached |= size == m->largest;
    m->steps += m->steps < 1 << 30;
    if (m->taps_of_kernel > RT_TAPS) return;
    m->kernel[p->number] = value;
    if (p->number + 1 == m->taps_of_kernel && m->taps_of_kernel > 1) end_kernel(m);
}

static int32_t code_weight(rt_mixed *m, rt_coder *coder, position *p, int32_t value) {
    expect(m, p->filter, p->channel, p->tap, p->number);
    look_around(m);
    uint32_t mean = log4(m->mean);
    p->of_filter = log4(mean_of(p->filter, m->mean));
    p->of_channel = log4(mean_of(p->channel, m->mean));
    p->of_near = log4(m->near);
    int32_t all = (int32_t)(2 * p->of_filter + 2 * p->of_channel + 3 * p->of_near) - 3 * (int32_t)mean;
    p->of_all = all < 0 ? 0 : all / 4 < RT_CLASSES ? (uint32_t)all / 4 : RT_CLASSES - 1;
    int32_t found = 0;
    if (m->largest && is_there(m, coder, p, value != 0)) {
        uint32_t negative = is_negative(m, coder, p, value < 0);
        int32_t size = 1 + (int32_t)size_less_one(m, coder, p, (int)negative, size_of(value) - 1);
        found = negative ? -size : size;
    }
    learn_all(m, p, found);
    return found;
}

/* Arrays -------------------------------------------------------------------------------------------- */

static void find_around(rt_mixed *m, const rt_order *order, const rt_walk *w, const unsigned char *out, uint64_t stride) {
    uint64_t left = rt_back(order, w, RT_ACROSS), up = rt_back(order, w, RT_DOWN), channel = rt_back(order, w, RT_CHANNEL);
    uint64_t filter = rt_back(order, w, RT_FILTER);
    int32_t across = w->last[RT_ACROSS];
    int more = across >= 0 && w->at[across] + 1 < order->extents[across];
    int before = channel && w->at[w->last[RT_CHANNEL]] > 1;
    const uint64_t steps[RT_AROUND] = {left, up, left && up ? left + up : 0, channel, filter,
                                       up && more ? up - order->strides[across] : 0, before ? 2 * channel : 0};
    for (int i = 0; i < RT_AROUND; i++) m->around[i] = steps[i] ? (int8_t)out[(w->place - steps[i]) * stride] : 0;
}

static void begin_kernel(rt_mixed *m, const rt_walk *w) {
    m->kernel_rest = 0;
    m->kernel_sum = m->kernel_nonzero = m->kernel_zero = 0;
    if (w->numbers[RT_FILTER] == m->filter_at) return;
    uint32_t least = m->filters[m->filter_at % RT_SEEN].least;
    m->leasts += least;
    m->filters_done += least > 0;
    m->filter_at = w->numbers[RT_FILTER];
    m->reached = 0;
}

void rt_mixed_code(rt_mixed *model, const rt_mixed_head *head, rt_coder *coder, unsigned char *out, uint64_t stride,
                   uint64_t most) {
    const rt_order *order = &head->order;
    rt_walk w = {{0}, {0}, {-1, -1, -1, -1}, 0};
    for (uint32_t i = 0; i < order->axes; i++) w.last[order->kinds[i]] = (int32_t)i;
    for (uint64_t i = 0; i < order->count && i < most && coder->missing <= RT_MOST_MISSING; i++) {
        uint32_t tap = w.numbers[RT_DOWN] * model->across + w.numbers[RT_ACROSS];
        position p = {&model->filters[w.numbers[RT_FILTER] % RT_SEEN], &model->channels[w.numbers[RT_CHANNEL] % RT_SEEN],
                      &model->taps[tap & 63], tap, 0, 0, 0, 0};
        if (!tap) begin_kernel(model, &w);
        find_around(model, order, &w, out, stride);
        unsigned char *place = out + w.place * stride;
        *place = (unsigned char)code_weight(model, coder, &p, (int8_t)*place);
        rt_advance(order, &w);
    }
}
