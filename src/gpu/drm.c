/* SPDX-License-Identifier: MIT */
/*
 * GPUs of which the kernel tells what DRM has in common: Intel's, under i915 and xe.
 *
 * There is no file with the utilization of the card, and none with the memory in use. If the
 * sensor may read the fdinfo of all processes both follow from the sums over all clients:
 * utilization is what the busiest class of engines did since the last reading. A client that ends
 * takes its past out of the sum, so that one reading may tell too little. Otherwise they stay
 * unknown, as the processes do.
 *
 * The size of the memory of a card is in the root of the dmem cgroup controller (Linux 6.14; the
 * kernel's cgroup-v2.rst); before, it is unknown. Power is the energy since the last reading.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/fd.h"
#include "base/parse.h"
#include "base/text.h"
#include "gpu/backend.h"
#include "gpu/card.h"
#include "gpu/fdinfo.h"
#include "gpu/tree.h"

#define CAPACITY_SIZE 16384
#define MEMORY_MAX    ((uint64_t)SAMPLE_MEMORY_MAX << 20)
#define NS_PER_SEC    UINT64_C(1000000000)

/* What a card had counted at the last reading. */
struct counters {
	char pci[GPU_PCI_SIZE];
	uint64_t energy_uj;
	bool has_energy, has_engines;
	struct fdinfo_engine engines[FDINFO_ENGINES_MAX];
	unsigned n_engines;
};

struct history {
	uint64_t at_ns;
	unsigned n;
	struct counters of[GPU_MAX];
};

struct drm {
	struct cards cards;
	int root;
	struct history *history; /* owned; NULL before the first reading */
};

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_SEC + (uint64_t)ts.tv_nsec;
}

/* "drm/0000:03:00.0/vram0 12884901888", a line a region, into MiB by card. */
static void read_capacity(int root, struct sample *sample)
{
	char text[CAPACITY_SIZE], *cursor = text, *line;

	if (read_file_at(root, "sys/fs/cgroup/dmem.capacity", text, sizeof(text)) < 0)
		return;
	while ((line = strsep(&cursor, "\n"))) {
		char *driver = strsep(&line, "/"), *pci = strsep(&line, "/"),
		     *region = strsep(&line, " ");
		uint64_t bytes;

		if (!line || strcmp(driver, "drm") != 0 || strncmp(region, "vram", 4) != 0 ||
			parse_uint(line, 1, MEMORY_MAX, &bytes) < 0)
			continue;
		for (unsigned i = 0; i < sample->n_gpus; i++) {
			struct gpu *gpu = &sample->gpus[i];

			if (strcmp(gpu->pci, pci) == 0)
				gpu->memory_mib = MIN(
					MAX(gpu->memory_mib, INT64_C(0)) + (int64_t)(bytes >> 20),
					(int64_t)SAMPLE_MEMORY_MAX);
		}
	}
}

static void read_energy(int root, const struct card *card, struct counters *counters)
{
	_cleanup_(closep) int device = card_open(root, card), hwmon = card_open_hwmon(device);

	counters->has_energy =
		hwmon >= 0 &&
		(tree_uint(hwmon, "energy1_input", UINT64_MAX, &counters->energy_uj) >= 0 ||
			tree_uint(hwmon, "energy2_input", UINT64_MAX, &counters->energy_uj) >= 0);
}

static void judge_power(struct gpu *gpu, const struct counters *now, const struct counters *then,
	uint64_t elapsed_ns)
{
	double watts;

	if (!now->has_energy || !then->has_energy || now->energy_uj < then->energy_uj)
		return;
	watts = (double)(now->energy_uj - then->energy_uj) * 1000 / (double)elapsed_ns;
	if (watts <= SAMPLE_POWER_MAX)
		gpu->power_w = (int)watts;
}

/* Percent that a class of engines was busy. Counters may go back. */
static int busy_percent(
	const struct fdinfo_engine *now, const struct fdinfo_engine *then, uint64_t elapsed_ns)
{
	uint64_t busy = now->busy_ns, before = then->busy_ns, span = elapsed_ns;
	double percent;

	if (now->clocks) {
		busy = now->cycles;
		before = then->cycles;
		span = now->clocks > then->clocks ? now->clocks - then->clocks : 0;
	}
	if (busy <= before || span == 0)
		return 0;
	percent = (double)(busy - before) * 100 / ((double)span * MAX(now->capacity, 1u));
	return percent > 100 ? 100 : (int)percent;
}

/* An engine that nobody had used then has no past. */
static void judge_utilization(struct gpu *gpu, const struct counters *now,
	const struct counters *then, uint64_t elapsed_ns)
{
	if (!now->has_engines || !then->has_engines)
		return;
	gpu->utilization = 0;
	for (unsigned i = 0; i < now->n_engines; i++)
		for (unsigned j = 0; j < then->n_engines; j++)
			if (strcmp(now->engines[i].name, then->engines[j].name) == 0)
				gpu->utilization = MAX(
					gpu->utilization, busy_percent(&now->engines[i],
								  &then->engines[j], elapsed_ns));
}

static void compare(struct sample *sample, const struct history *now, const struct history *then)
{
	uint64_t elapsed_ns = now->at_ns - then->at_ns;

	if (elapsed_ns == 0)
		return;
	for (unsigned i = 0; i < now->n; i++)
		for (unsigned j = 0; j < then->n; j++)
			if (strcmp(now->of[i].pci, then->of[j].pci) == 0) {
				judge_power(
					&sample->gpus[i], &now->of[i], &then->of[j], elapsed_ns);
				judge_utilization(
					&sample->gpus[i], &now->of[i], &then->of[j], elapsed_ns);
			}
}

static void take_usage(struct gpu *gpu, const struct fdinfo_usage *usage, struct counters *counters)
{
	if (usage->has_memory || gpu->memory_mib != GPU_UNKNOWN)
		gpu->memory_used_mib =
			(int64_t)MIN(usage->memory >> 20, (uint64_t)SAMPLE_MEMORY_MAX);
	counters->has_engines = true;
	counters->n_engines = usage->n_engines;
	memcpy(counters->engines, usage->engines, sizeof(counters->engines));
}

static int read_clients(int root, struct sample *sample, struct history *now)
{
	_cleanup_(freep) struct fdinfo_usage *usages = calloc(GPU_MAX, sizeof(*usages));
	int r = usages ? fdinfo_read(root, sample, usages) : -ENOMEM;

	for (unsigned i = 0; r > 0 && i < sample->n_gpus; i++)
		take_usage(&sample->gpus[i], &usages[i], &now->of[i]);
	return r;
}

static void add_cards(struct drm *drm, struct sample *sample, struct history *now)
{
	const struct card *cards[GPU_MAX];

	cards_read(&drm->cards);
	for (unsigned i = 0; i < drm->cards.n; i++) {
		const struct card *card = &drm->cards.card[i];

		if (card->driver == CARD_AMDGPU)
			continue;
		cards[sample->n_gpus] = card;
		text_copy(now->of[sample->n_gpus].pci, GPU_PCI_SIZE, card->pci);
		read_energy(drm->root, card, &now->of[sample->n_gpus]);
		card_add(sample, drm->root, card);
	}
	cards_link(sample, drm->root, cards);
	read_capacity(drm->root, sample);
}

static int drm_read(void *context, struct sample *ret, struct error *err)
{
	struct drm *drm = context;
	_cleanup_(freep) struct history *now = calloc(1, sizeof(*now));

	if (!now)
		return error_set(err, -ENOMEM, "memory", "out of memory");
	now->at_ns = now_ns();
	add_cards(drm, ret, now);
	now->n = ret->n_gpus;
	if (ret->n_gpus == 0)
		return error_set(err, -ENODEV, "drm.no-gpus", "no Intel GPU found");
	if (read_clients(drm->root, ret, now) < 0)
		return error_set(err, -ENOMEM, "memory", "out of memory");
	if (drm->history)
		compare(ret, now, drm->history);
	free(drm->history);
	drm->history = TAKE_PTR(now);
	return 0;
}

static void drm_close(void *context)
{
	struct drm *drm = context;

	if (!drm)
		return;
	closep(&drm->root);
	free(drm->history);
	free(drm);
}

static int drm_open(const struct backend_options *options, void **ret_context, struct error *err)
{
	struct drm *drm = calloc(1, sizeof(*drm));

	if (!drm)
		return error_set(err, -ENOMEM, "memory", "out of memory");
	drm->root = drm->cards.root = tree_open(options->sysroot);
	cards_read(&drm->cards);
	for (unsigned i = 0; i < drm->cards.n; i++)
		if (drm->cards.card[i].driver != CARD_AMDGPU) {
			*ret_context = drm;
			return 0;
		}
	drm_close(drm);
	return error_set(err, -ENODEV, "drm.no-gpus", "no Intel GPU found");
}

const struct backend backend_drm = {
	.name = "drm",
	.open = drm_open,
	.read = drm_read,
	.close = drm_close,
};
