/* SPDX-License-Identifier: MIT */
/*
 * What a client of Multi-GPU Scheduler asks for: one JSON object. That it says who it is ("user")
 * is not heard; keys that are not known are not, either, as there.
 */
#pragma once

#include "compat/mgpu.h"

enum demand_kind { DEMAND_SUBMIT, DEMAND_QUEUE, DEMAND_CANCEL };

struct demand {
	enum demand_kind kind;
	int64_t lease; /* of a cancel */
	bool interactive;
	struct mgpu_job job; /* of a submit: its texts are below, or borrowed from the JSON */
	char gpus[24];
	char *gpu_ids; /* owned */
	char *line;    /* owned */
	char *words[2];
};

/* Fills *ret, which must stay where it is. most_sec: no job may say more; 0 = all may. -EINVAL with
 * a sentence. *ret is to be cleared in any case. */
int demand_read(json_t *json, int64_t most_sec, struct demand *ret, struct error *err);
void demand_clear(struct demand *demand);
