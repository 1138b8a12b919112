/* SPDX-License-Identifier: MIT */
/*
 * Two witnesses: what the sensor tells with each sample, and the kernel log, which also knows what
 * happened before the sensor was started, and what made the GPU too sick to be asked.
 *
 * A GPU that is sick says so in ever new words: the first count, until it is trusted again. What a
 * witness says is remembered and looked at with every sample, so a drain that could not be stored
 * is tried again. GPUs that were drained before the start are taken over without a word: that was
 * told then, and the reason may be an administrator's own.
 *
 * Slots are stable from health_start() on.
 */
#include "daemon/health.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/epoll.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/text.h"
#include "daemon/batch.h"
#include "daemon/sensor.h"
#include "gpu/xid.h"
#include "priv/terminal.h"

#define KERNEL_LOG  "/dev/kmsg"
#define RECORD_SIZE 8192 /* the kernel's are shorter */
#define SCAN_MAX    1000000
#define RECORDS_MAX 256 /* read in one go, so that others get their turn */

struct finding {
	char logged[GPU_REASON_SIZE]; /* by the kernel, since the GPU is trusted */
	bool told;                    /* its owner and the log know */
	bool scanned;                 /* the log was read after the GPU was seen */
};

struct health {
	int log; /* -1 = cannot be read */
	sd_event_source *source;
	struct finding findings[GPU_MAX];
};

static void tell(const struct gpu *gpu, const struct lease *holder)
{
	_cleanup_(freep) char *text = text_format(
		"dibs: GPU %d of your %s #%" PRId64
		" needs repair: %s. Save your work; nobody gets it after you.",
		gpu->index, lease_kind_to_string(holder->kind), holder->id, gpu->drain_reason);
	if (text)
		terminal_tell(holder->uid, text);
}

static void drain(struct manager *m, unsigned slot, const char *why)
{
	struct finding *finding = &m->health->findings[slot];
	const struct lease *holder = pool_holder(m->pool, slot);
	struct gpu *gpu = &m->pool->gpus[slot];

	batch_touch_gpu(m, slot);
	gpu->drained = true;
	text_copy(gpu->drain_reason, sizeof(gpu->drain_reason), why);
	batch_want_pass(m);
	if (!finding->told)
		log_warning("GPU %d (%s) is drained: %s", gpu->index, gpu->uuid, why);
	if (!holder)
		batch_event(m, EVENT_DEFECT, 0, EVENT_NOBODY, gpu->uuid, why);
	for (; holder; holder = pool_next_holder(m->pool, slot, holder)) {
		batch_event(m, EVENT_DEFECT, holder->id, holder->uid, gpu->uuid, why);
		if (!finding->told)
			tell(gpu, holder);
	}
	finding->told = true;
}

/* What the GPU needs repair for, or "". */
static const char *defect_of(const struct manager *m, unsigned slot)
{
	const struct finding *finding = &m->health->findings[slot];

	return finding->logged[0] ? finding->logged : m->pool->gpus[slot].defect;
}

static void look_at_all(struct manager *m)
{
	for (unsigned slot = 0; slot < m->pool->n_gpus; slot++) {
		const struct gpu *gpu = &m->pool->gpus[slot];
		const char *why = defect_of(m, slot);
		bool known = m->health->findings[slot].told || strcmp(gpu->drain_reason, why) == 0;

		if (why[0] && !(gpu->drained && known))
			drain(m, slot, why);
	}
}

static void note(struct manager *m, unsigned slot, const char *why, int64_t at_us)
{
	struct finding *finding = &m->health->findings[slot];

	if (!finding->logged[0] && at_us >= m->pool->gpus[slot].trusted_since_us)
		text_copy(finding->logged, sizeof(finding->logged), why);
}

static void take_record(struct manager *m, const char *record)
{
	char pci[XID_PCI_SIZE], why[GPU_REASON_SIZE];
	int64_t boot_us, at_us;
	bool found = false;
	uint64_t xid;

	if (xid_parse_kmsg(record, pci, &xid, &boot_us) < 0 || !xid_defect(xid, why, sizeof(why)))
		return;
	at_us = clock_from_monotonic(&m->clock, boot_us);
	/* One that is known from before may have given its place to another. */
	for (int present = 1; present >= 0 && !found; present--)
		for (unsigned slot = 0; slot < m->pool->n_gpus; slot++) {
			const struct gpu *gpu = &m->pool->gpus[slot];

			if (gpu->present != present || !xid_same_pci(gpu->pci, pci))
				continue;
			found = true;
			note(m, slot, why, at_us);
		}
}

/* Reads records until there are no more just now, or max of them. Each read gives one; those that
 * were overwritten before they were read are missed (EPIPE). */
static int read_log(struct manager *m, unsigned max)
{
	char record[RECORD_SIZE];

	for (unsigned i = 0; i < max; i++) {
		ssize_t n = read(m->health->log, record, sizeof(record) - 1);

		if (n < 0 && errno == EAGAIN)
			return 0;
		if (n < 0 && (errno == EPIPE || errno == EINTR))
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -ENODATA;
		record[n] = '\0';
		take_record(m, record);
	}
	return 0;
}

static void give_up(struct health *health, int error)
{
	log_warning("the kernel log cannot be read (%s); XIDs are known from the sensor alone",
		strerrordesc_np(-error));
	health->source = sd_event_source_disable_unref(health->source);
	closep(&health->log);
	health->log = -1;
}

static int on_log(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct manager *m = userdata;
	int r = read_log(m, RECORDS_MAX);

	if (r < 0)
		give_up(m->health, r);
	look_at_all(m);
	return 0;
}

/* All of this boot, from the beginning. */
static void scan(struct manager *m)
{
	struct health *health = m->health;
	int r;

	for (unsigned slot = 0; slot < m->pool->n_gpus; slot++)
		health->findings[slot].scanned |= m->pool->gpus[slot].present;
	if (health->log < 0)
		return;
	lseek(health->log, 0, SEEK_SET);
	r = read_log(m, SCAN_MAX);
	if (r < 0)
		give_up(health, r);
}

static void open_log(struct manager *m)
{
	struct health *health = m->health;
	int r;

	health->log = open(KERNEL_LOG, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
	r = health->log < 0
		    ? -errno
		    : sd_event_add_io(m->event, &health->source, health->log, EPOLLIN, on_log, m);
	if (r < 0)
		give_up(health, r);
}

int health_start(struct manager *m)
{
	m->health = calloc(1, sizeof(*m->health));
	if (!m->health)
		return -ENOMEM;
	m->health->log = -1;
	if (!m->sim) /* the log tells of GPUs that exist */
		open_log(m);
	scan(m);
	for (unsigned slot = 0; slot < m->pool->n_gpus; slot++)
		m->health->findings[slot].told =
			m->pool->gpus[slot].drained && defect_of(m, slot)[0];
	look_at_all(m);
	return 0;
}

void health_look(struct manager *m, unsigned slot)
{
	if (!m->health)
		return;
	if (!m->health->findings[slot].scanned)
		scan(m);
	look_at_all(m);
}

void health_trust(struct manager *m, unsigned slot)
{
	struct gpu *gpu = &m->pool->gpus[slot];

	if (!m->health)
		return;
	m->health->findings[slot] = (struct finding){ .scanned = true };
	gpu->trusted_since_us = clock_now(&m->clock);
	gpu->defect[0] = '\0';
	sensor_restart(m->sensor);
}

struct health *health_free(struct health *health)
{
	if (!health)
		return NULL;
	sd_event_source_disable_unref(health->source);
	closep(&health->log);
	free(health);
	return NULL;
}
