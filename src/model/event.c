/* SPDX-License-Identifier: MIT */
#include "model/event.h"

#include "base/strtab.h"

static const char *const kinds[EVENT_KIND_MAX] = {
	[EVENT_QUEUED] = "queued",
	[EVENT_GRANTED] = "granted",
	[EVENT_EXTENDED] = "extended",
	[EVENT_WARNED] = "warned",
	[EVENT_ENDED] = "ended",
	[EVENT_GPU_SEEN] = "gpu-seen",
	[EVENT_GPU_LOST] = "gpu-lost",
	[EVENT_GPU_BACK] = "gpu-back",
	[EVENT_DRAINED] = "drained",
	[EVENT_UNDRAINED] = "undrained",
	[EVENT_CLOCK_SET] = "clock-set",
	[EVENT_STARTED] = "started",
	[EVENT_FOREIGN] = "foreign",
	[EVENT_FOREIGN_ENDED] = "foreign-ended",
	[EVENT_IDLE] = "idle",
	[EVENT_REVOKED] = "revoked",
	[EVENT_DEFECT] = "defect",
	[EVENT_GUARD] = "guard",
	[EVENT_GIVEN] = "given",
	[EVENT_SHRUNK] = "shrunk",
	[EVENT_REQUEUED] = "requeued",
	[EVENT_HELD] = "held",
	[EVENT_RESUMED] = "resumed",
	[EVENT_SUSPENDED] = "suspended",
	[EVENT_SIGNALLED] = "signalled",
	[EVENT_OVERUSE] = "overuse",
	[EVENT_IMPORTED] = "imported",
	[EVENT_RECOVERED] = "recovered",
};
DEFINE_STRTAB(event_kind, enum event_kind, kinds)
