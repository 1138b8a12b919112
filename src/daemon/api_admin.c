/* SPDX-License-Identifier: MIT */
/* What administrators may do; the method table lets nobody else in. */
#include <string.h>

#include "base/text.h"
#include "daemon/api.h"
#include "daemon/batch.h"
#include "daemon/guard.h"
#include "daemon/health.h"
#include "daemon/lifecycle.h"
#include "daemon/sensor.h"
#include "daemon/server.h"
#include "policy/admit.h"
#include "proto/view.h"

struct drain_parameters {
	const char *gpu, *reason;
};

#define AT(member) offsetof(struct drain_parameters, member)
static const struct field drain_fields[] = {
	{ "gpu", FIELD_STRING, AT(gpu), .required = true, .min = 1, .max = GPU_UUID_SIZE - 1 },
	{ "reason", FIELD_STRING, AT(reason), .required = true, .min = 1,
		.max = GPU_REASON_SIZE - 1 },
};
#undef AT

/* The one GPU that was named, or a verdict. */
static struct verdict find_gpu(const struct manager *m, const char *typed, unsigned *ret_slot)
{
	_cleanup_(freep) char *uuid = NULL;
	struct verdict v = admit_resolve(m->pool, typed, &uuid);
	int slot = uuid ? pool_slot_by_uuid(m->pool, uuid) : -1;

	if (v.kind == VERDICT_OK && slot < 0)
		return verdict_make(VERDICT_INVALID, "gpu.one", "name one GPU, not '%s'", typed);
	*ret_slot = (unsigned)slot;
	return v;
}

static void set_drained(
	struct manager *m, struct connection *c, const char *typed, const char *reason)
{
	struct gpu *gpu;
	unsigned slot = 0;
	struct verdict v = find_gpu(m, typed, &slot);

	if (v.kind != VERDICT_OK) {
		connection_refuse(c, &v);
		return;
	}
	gpu = &m->pool->gpus[slot];
	batch_touch_gpu(m, slot);
	gpu->drained = reason != NULL;
	text_copy(gpu->drain_reason, sizeof(gpu->drain_reason), reason ? reason : "");
	text_sanitize(gpu->drain_reason);
	if (!reason)
		health_trust(m, slot);
	batch_event(m, reason ? EVENT_DRAINED : EVENT_UNDRAINED, 0, c->uid, gpu->uuid,
		gpu->drain_reason);
	batch_want_pass(m);
	connection_reply(c, json_pack("{s:o}", "gpu",
				    view_gpu(m->pool, slot, clock_to_wall_offset(&m->clock))));
}

static int drain(struct manager *m, struct connection *c, const void *parameters, struct error *err)
{
	const struct drain_parameters *p = parameters;

	set_drained(m, c, p->gpu, p->reason);
	return 0;
}

static int undrain(
	struct manager *m, struct connection *c, const void *parameters, struct error *err)
{
	const struct drain_parameters *p = parameters;

	set_drained(m, c, p->gpu, NULL);
	return 0;
}

struct admin_release_parameters {
	int64_t id;
	const char *reason;
};

#define AT(member) offsetof(struct admin_release_parameters, member)
static const struct field admin_release_fields[] = {
	{ "id", FIELD_INT, AT(id), .required = true, .min = 1, .max = INT64_MAX },
	{ "reason", FIELD_STRING, AT(reason), .required = true, .min = 1,
		.max = GPU_REASON_SIZE - 1 },
};
#undef AT

static int admin_release(
	struct manager *m, struct connection *c, const void *parameters, struct error *err)
{
	const struct admin_release_parameters *p = parameters;
	struct lease *lease = api_find_lease(m, p->id);
	char reason[GPU_REASON_SIZE];
	struct verdict v = lease ? lifecycle_can_release(m, lease) : api_unknown_lease(p->id);

	if (v.kind != VERDICT_OK) {
		connection_refuse(c, &v);
		return 0;
	}
	text_copy(reason, sizeof(reason), p->reason);
	text_sanitize(reason);
	lifecycle_release(m, lease, LEASE_END_ADMIN, c->uid, reason);
	connection_reply(c, json_pack("{s:o}", "lease", api_view_lease(m, lease)));
	return 0;
}

struct sensor_parameters {
	const char *action;
};

static const struct field sensor_fields[] = {
	{ "action", FIELD_STRING, offsetof(struct sensor_parameters, action), .required = true,
		.max = 16 },
};

static int control_sensor(
	struct manager *m, struct connection *c, const void *parameters, struct error *err)
{
	const struct sensor_parameters *p = parameters;

	if (strcmp(p->action, "pause") == 0) {
		int r = sensor_pause(m->sensor, err);

		if (r < 0)
			return r;
	} else if (strcmp(p->action, "resume") == 0) {
		sensor_resume(m->sensor);
	} else {
		connection_error(c, "org.varlink.service.InvalidParameter",
			json_pack("{s:s, s:s}", "parameter", "action", "message",
				"action must be pause or resume"));
		return 0;
	}
	connection_reply(c, json_object());
	return 0;
}

struct guard_parameters {
	const char *mode;
};

static const struct field guard_fields[] = {
	{ "mode", FIELD_STRING, offsetof(struct guard_parameters, mode), .required = true,
		.max = 16 },
};

static int set_guard(
	struct manager *m, struct connection *c, const void *parameters, struct error *err)
{
	const struct guard_parameters *p = parameters;
	enum guard_mode mode = guard_mode_from_string(p->mode);
	int r;

	if (mode == GUARD_MODE_INVALID && strcmp(p->mode, "configured") != 0) {
		connection_error(c, "org.varlink.service.InvalidParameter",
			json_pack("{s:s, s:s}", "parameter", "mode", "message",
				"mode must be off, watch, deny or configured"));
		return 0;
	}
	r = guard_set(m, mode, err);
	if (r < 0)
		return r;
	batch_event(m, EVENT_GUARD, 0, c->uid, NULL, p->mode);
	server_status_changed(m->server);
	connection_reply(
		c, json_pack("{s:s, s:s?, s:s?}", "guard", guard_mode_to_string(guard_mode(m)),
			   "guard_method", guard_method(m), "guard_problem", guard_problem(m)));
	return 0;
}

const struct method api_admin_methods[] = {
	{ "org.dibs.Drain", true, true, drain_fields, ELEMENTSOF(drain_fields),
		sizeof(struct drain_parameters), NULL, drain },
	{ "org.dibs.Undrain", true, true, drain_fields, 1, sizeof(struct drain_parameters), NULL,
		undrain },
	{ "org.dibs.AdminRelease", true, false, admin_release_fields,
		ELEMENTSOF(admin_release_fields), sizeof(struct admin_release_parameters), NULL,
		admin_release },
	{ "org.dibs.ControlSensor", true, true, sensor_fields, ELEMENTSOF(sensor_fields),
		sizeof(struct sensor_parameters), NULL, control_sensor },
	{ "org.dibs.SetGuard", true, true, guard_fields, ELEMENTSOF(guard_fields),
		sizeof(struct guard_parameters), NULL, set_guard },
	{ 0 },
};
