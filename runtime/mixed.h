/* What the codec `mixed` expects of the next weight: shared by its decoder and its encoder, so that both see the same.
 *
 * A weight is a few decisions: is it zero, what is its sign, then the size, bit by bit from the top. Each decision has
 * several opinions: counters of how it went before in some context, and two bell curves around what the taps
 * before in the filter foretell, as wide as the weights around; sizes also by how far they are past the filter's least.
 * Taps are a kernel's, or the channels of a filter, or the filters of a channel. Opinions are mixed as logits by weights that learn
 * (Mahoney, Adaptive weighing of context models, 2005). All of it adapts, and starts from what
 * other networks taught (mixed_start.c), so that a stream has no table. Numbers are
 * integers, or doubles by sums, products and quotients in a stated order, which every processor rounds alike. */
#ifndef SECATEUR_MIXED_H
#define SECATEUR_MIXED_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum {
    RT_AXES = 6,     /* of an array at most */
    RT_CLASSES = 28, /* of sizes, a quarter of an octave each */
    RT_NODES = 128,  /* of the tree of a size's seven bits */
    RT_SEEN = 512,   /* filters, or channels, that are told apart */
    RT_TAPS = 64,    /* of a filter whose taps foretell each other, at most */
    RT_STARTS = 4,     /* of the model, by the share of zeros */
    RT_CHOICES = 4,    /* of how far taps are trusted, and of how fast weights of opinions learn */
    RT_MEANS = 29,     /* codes of a mean in quarters, four an octave from 4 to 512 */
    RT_SIZE_SETS = 6,  /* of counters, by a context each */
    RT_ZERO_SETS = 8,
    RT_SIGN_SETS = 4,
    RT_CURVES = 2,                                   /* bell curves */
    RT_TOP_OPINIONS = RT_CURVES + 1,                 /* beside the counter */
    RT_ZERO_OPINIONS = RT_ZERO_SETS + RT_CURVES,
    RT_SIGN_OPINIONS = RT_SIGN_SETS + RT_CURVES,
    RT_SIZE_OPINIONS = RT_SIZE_SETS + RT_CURVES + 2, /* beside the counters of the whole array, and how sizes fall off */
    RT_OPINIONS = RT_SIZE_OPINIONS,                  /* at most */
    RT_WIDTHS = 6,
    RT_AROUND = 7,
    RT_MOST_MISSING = 3 /* bytes past the end that a decoder takes as zeros */
};

/* What axes stand for; a kernel's height and width are one axis each at most. */
enum { RT_FILTER = 0, RT_CHANNEL = 1, RT_DOWN = 2, RT_ACROSS = 3 };

/* An array as filters, channels and taps: axes from the outermost on in the order in which they are gone through. */
typedef struct rt_order {
    uint32_t extents[RT_AXES];
    uint64_t strides[RT_AXES]; /* in elements */
    uint32_t kinds[RT_AXES], axes;
    uint64_t count;
} rt_order;

/* Axes as they lie, from the outermost on. */
typedef struct rt_axes {
    uint32_t kinds[RT_AXES], extents[RT_AXES], count;
} rt_axes;

/* How an array of `count` elements with these axes is gone through: filters outermost, axes of a kind as they lie. The outermost
 * axis gets what the others leave of the count; 0 where they leave none, or a kernel has two axes of a kind. */
int rt_settle(rt_axes *axes, uint64_t count, rt_order *order);

/* From the head of a stream of `count` bytes, with a number below RT_STARTS that it holds; NULL where it is damaged, else what comes behind. */
const unsigned char *rt_read_order(const unsigned char *at, const unsigned char *end, uint64_t count, rt_order *order,
                                   uint32_t *number);

/* Where an array is gone through. */
typedef struct rt_walk {
    uint32_t at[RT_AXES], numbers[4]; /* the number of the filter, the channel, the row and the tap in it */
    int32_t last[4];                  /* the innermost axis of each kind, or -1 */
    uint64_t place;
} rt_walk;

/* To the next weight. */
void rt_advance(const rt_order *order, rt_walk *w);

/* How far back the next weight before lies along the innermost axis of a kind; 0 where there is none. */
uint64_t rt_back(const rt_order *order, const rt_walk *w, int kind);

/* What a decision was in one context: its chance of 1 in 2^22ths << 10 | how often it was seen. */
typedef uint32_t rt_counter;

/* Weights seen so far, of a filter, a channel, a tap, or all. */
typedef struct rt_seen {
    double rest; /* sum of what was not foretold */
    uint32_t sum, count, nonzero, least;
} rt_seen;

typedef struct rt_mixed {
    int16_t logits[4096];
    uint16_t chances[4096], shares[1024];
    double logs[257], powers[256], bells[2][1025];
    rt_counter sizes[RT_SIZE_SETS][RT_CLASSES][RT_NODES], tops[2][RT_NODES], whole[RT_NODES];
    rt_counter zeros[RT_ZERO_SETS][64], signs[RT_SIGN_SETS][64];
    int32_t size_weights[7][RT_SIZE_OPINIONS];       /* of opinions, by bit */
    int32_t top_weights[2][RT_TOP_OPINIONS];         /* before a filter has had the largest size, and after */
    int32_t zero_weights[RT_ZERO_OPINIONS], sign_weights[RT_SIGN_OPINIONS];
    rt_seen filters[RT_SEEN], channels[RT_SEEN], taps[64], all;
    double widths[RT_WIDTHS], features[RT_WIDTHS];        /* of the curves: the logarithm is their product's sum */
    int32_t around_weights[RT_AROUND], around[RT_AROUND]; /* values that lie around, as mixed.c numbers them */
    double products[RT_TAPS][RT_TAPS]; /* on and below the diagonal; above it, of their factors */
    double foretell[RT_TAPS][RT_TAPS];
    int32_t kernel[RT_TAPS]; /* taps of the filter and channel so far */
    double kernel_rest;
    uint32_t kernel_sum, kernel_nonzero, kernel_zero;
    uint32_t kernels, next_solution; /* that are known, and of how many it is next found what foretells taps */
    uint32_t taps_of_kernel, across; /* in all, and side by side */
    uint32_t largest, bits, dense;   /* size; of a size less one; whether hardly any weight is zero */
    uint32_t steps;                  /* weights so far */
    uint32_t filter_at, reached;     /* the filter gone through, and whether it has had the largest size */
    double ridge;
    double expected, inverse; /* the middle of the curves, and one over their width */
    double leasts, filters_done; /* of filters with weights: sum of the least sizes, and how many */
    struct {
        double least, share, above, below; /* where it begins, how much lies behind, how fast it falls either way */
    } tail; /* of a filter's sizes */
    int32_t pace; /* at which weights of opinions learn at first */
    int64_t expected8; /* by the values around, in eighths */
    uint32_t near;     /* mean size of what is not zero around, in 16ths */
    uint32_t mean;     /* of all */
} rt_mixed;

static inline double rt_power(const rt_mixed *m, double x) { /* 2^x, of -16 to 16 */
    uint32_t parts = (uint32_t)((x + 64) * 256);
    uint64_t bits = (uint64_t)(1023 - 64 + (parts >> 8)) << 52;
    double whole;
    memcpy(&whole, &bits, sizeof whole);
    return whole * m->powers[parts & 255];
}

/* A counter that stands where it would after having been seen so often. */
static inline rt_counter rt_counter_of(double chance, uint32_t seen) { return (rt_counter)(chance * 4194303) << 10 | seen; }

/* Codes a bit whose chance of being 1 is `chance` in 65536ths; `bit` is what an encoder writes. */
typedef struct rt_coder rt_coder;
struct rt_coder {
    uint32_t (*code)(rt_coder *coder, uint32_t chance, uint32_t bit);
    uint32_t low, high, value, missing;
    const unsigned char *at, *end;
    unsigned char *out, *out_end;
};

/* The last number of those that stand for a 1. */
static inline uint32_t rt_middle(const rt_coder *c, uint32_t chance) {
    uint32_t range = c->high - c->low;
    return c->low + (range >> 16) * chance + ((range & 0xffff) * chance >> 16);
}

/* What a stream ends with: the number of fewest bytes that zeros behind them make one from `low` to `high`. */
static inline uint32_t rt_last(const rt_coder *c, uint32_t *bytes) {
    for (*bytes = 1; *bytes < 4; ++*bytes) {
        uint32_t below = UINT32_MAX >> (8 * *bytes), number = (c->low + below) & ~below;
        if (number >= c->low && number <= c->high) return number;
    }
    return c->low;
}

/* What a stream begins with. */
typedef struct rt_mixed_head {
    rt_axes axes;
    rt_order order;
    uint32_t largest, mean; /* size; code of the mean of sizes that are not zero */
    uint32_t zeros;         /* their share: 0 of hardly any, below RT_STARTS */
    uint32_t ridge, pace;   /* below RT_CHOICES */
} rt_mixed_head;

/* Codes a head, which an encoder finds there and a decoder puts there; 0 where it is none of an array of `count` elements. */
int rt_mixed_code_head(rt_coder *coder, uint64_t count, rt_mixed_head *head);

/* The model before the first weight. */
void rt_mixed_begin(rt_mixed *model, const rt_mixed_head *head);

/* Goes through the first `most` weights at out[i * stride], which an encoder finds there and a decoder puts there. The model has
 * begun. */
void rt_mixed_code(rt_mixed *model, const rt_mixed_head *head, rt_coder *coder, unsigned char *out, uint64_t stride,
                   uint64_t most);

#endif
