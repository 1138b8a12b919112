/* SPDX-License-Identifier: MIT */
/*
 * Who could have which GPU when, during one walk along the queue (policy/queue.h): what is held,
 * shared, and claimed by those ahead who cannot start. It is filled from a pool, and then told of
 * each start and claim; nothing is given back.
 */
#pragma once

#include "model/pool.h"

/* Of how many sharers of a card the ends are known; further ones count as ending with the last. */
#define CLAIMS_SHARES 16

/* Now, when each GPU comes back, when its shares do, when it is claimed, never. */
#define CLAIMS_TIMES ((2 + CLAIMS_SHARES) * GPU_MAX + 2)

/* What decides how a request is treated; eligible are usable GPUs only. */
struct shape {
	struct gpu_set eligible;
	int64_t duration_us;
	uint64_t share_mib;
	unsigned count;
};

/* Who shares a card: the earliest end first. */
struct shares {
	uint64_t room_mib; /* that is left */
	unsigned n;
	int64_t end_us[CLAIMS_SHARES];
	uint16_t rank[CLAIMS_SHARES]; /* of end_us */
	uint64_t mib[CLAIMS_SHARES];
};

struct claims {
	const struct pool *pool; /* borrowed */
	int64_t now_us;
	struct gpu_set usable;  /* healthy, perhaps still to be given back by somebody */
	struct gpu_set foreign; /* usable, but somebody without a lease is on them */
	struct gpu_set free;    /* usable, held by nobody, nothing revoked; foreign ones, too */
	struct gpu_set shared;  /* usable, held by leases with shares only, nothing revoked */
	struct gpu_set open;    /* free, or shared with room left, and not claimed from now on */

	int64_t avail_us[GPU_MAX]; /* when it could come back at the earliest */
	int64_t claim_us[GPU_MAX]; /* from when on somebody ahead wants it */

	/* The same as ranks in times_us, which rises: [0] is now, [never] is TIME_NEVER. */
	int64_t times_us[CLAIMS_TIMES];
	unsigned never;
	uint16_t avail[GPU_MAX], claim[GPU_MAX];

	uint64_t least_mib;            /* memory of the smallest usable GPU */
	uint64_t version;              /* of free and claims; > 0 */
	struct shares shares[GPU_MAX]; /* of those in shared; the others are not initialised */
};

/* pool outlives claims, and does not change meanwhile. */
void claims_init(struct claims *claims, const struct pool *pool, int64_t now_us);

struct shape claims_shape(const struct claims *claims, const struct lease *lease);

/* The GPUs that shape can have now without delaying anybody ahead; if they are fewer than its
 * count, there may be some among them that it cannot have. */
struct gpu_set claims_startable(const struct claims *claims, const struct shape *shape);

/*
 * Claims what a request that cannot start could have first: all GPUs that it could have before the
 * start, and of those that it could have just then as many as it takes. The ones that it could use
 * now, if only there were more of them, come first: one that is claimed already may stay with those
 * ahead, and somebody behind would get the better one.
 */
void claims_add(struct claims *claims, const struct shape *shape);

/* Claims count of these GPUs from now on. */
void claims_keep(struct claims *claims, const struct gpu_set *gpus, unsigned count);

/* A waiting lease starts on these GPUs, which are startable for its shape. */
void claims_take(struct claims *claims, const struct request *request, const struct gpu_set *gpus);
