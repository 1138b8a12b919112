/* SPDX-License-Identifier: MIT */
/* admin: there is nothing to set up. What people type in their installation notes still says
 * whether the machine is as they think, and --force still ends all reservations. */
#include <inttypes.h>
#include <string.h>

#include "cli/public.h"
#include "compat/canhazgpu.h"

static bool has_vendor(json_t *gpus, const char *vendor)
{
	json_t *gpu;
	size_t i;

	json_array_foreach (gpus, i, gpu)
		if (strcmp(wire_text(gpu, "vendor"), vendor) == 0)
			return true;
	return false;
}

/* 0, or the exit status. */
static int check_provider(json_t *gpus, const char *provider)
{
	if (!*provider) {
		const char *vendor = wire_text(json_array_get(gpus, 0), "vendor");

		if (!*vendor)
			return chg_fail("no GPU was found here; 'dibs doctor' says why");
		printf("Detecting available GPU provider... found %s\n", vendor);
		return 0;
	}
	printf("Using explicitly specified GPU provider: %s\n", provider);
	if (strcmp(provider, "fake") == 0) {
		puts("Using fake GPU provider for development/testing");
		return 0;
	}
	if (strcmp(provider, "nvidia") != 0 && strcmp(provider, "amd") != 0)
		return chg_fail(
			"invalid provider '%s'. Valid providers are: nvidia, amd, fake", provider);
	if (!has_vendor(gpus, provider))
		return chg_fail("provider '%s' is not available on this system", provider);
	return 0;
}

/* Of a lease that cannot be, only administrators are told so; everybody else is refused. */
static int check_administrator(struct chg *chg)
{
	_cleanup_(json_decrefp) json_t *reply = NULL;
	_cleanup_(json_decrefp) json_t *parameters =
		json_pack("{sI ss}", "id", (json_int_t)INT64_MAX, "reason", "canhazgpu admin");
	struct error err = { 0 };

	if (client_call(NULL, "org.dibs.AdminRelease", parameters, &reply, &err) != EXIT_REFUSED)
		return 0;
	return chg_fail_error(chg, &err);
}

static int end_lease(struct chg *chg, json_t *lease)
{
	_cleanup_(json_decrefp) json_t *parameters = json_pack(
		"{sO ss}", "id", json_object_get(lease, "id"), "reason", "canhazgpu admin --force");
	_cleanup_(json_decrefp) json_t *reply = chg_call(chg, "org.dibs.AdminRelease", parameters);

	return reply ? 0 : 1;
}

/* Stops at the first that fails: who is no administrator, is so for all of them. */
static int end_all(struct chg *chg, json_t *leases)
{
	int status = 0;
	json_t *lease;
	size_t i;

	json_array_foreach (leases, i, lease)
		if (status == 0 && json_array_size(json_object_get(lease, "gpus")) > 0)
			status = end_lease(chg, lease);
	return status;
}

int chg_admin(struct chg *chg)
{
	_cleanup_(json_decrefp) json_t *reply = NULL;
	int64_t wanted = chg_int(chg, CHG_GPUS), n;
	bool force = chg_is(chg, CHG_FORCE);
	json_t *gpus;
	int status;

	if (!chg->values[CHG_GPUS])
		return chg_fail("required flag(s) \"gpus\" not set");
	if (wanted <= 0)
		return chg_fail("GPU count must be greater than 0");
	reply = chg_call(chg, "org.dibs.GetStatus", NULL);
	if (!reply)
		return 1;
	gpus = json_object_get(reply, "gpus");
	n = (int64_t)json_array_size(gpus);
	status = check_provider(gpus, chg_value(chg, CHG_PROVIDER));
	if (status != 0)
		return status;
	if (n != wanted)
		return chg_fail("this machine has %" PRId64 " GPU%s, not %" PRId64
				"; dibs finds them itself, see 'dibs doctor' if some are missing",
			n, n == 1 ? "" : "s", wanted);
	if (force && check_administrator(chg) != 0)
		return 1;
	if (force) {
		printf("Releasing all GPUs: admin force reset (clearing %" PRId64
		       " existing GPUs)\n",
			n);
		status = end_all(chg, json_object_get(reply, "leases"));
	}
	if (status == 0)
		printf("%s %" PRId64 " GPUs (IDs 0 to %" PRId64 ")\n",
			force ? "Reinitialized" : "Initialized", n, n - 1);
	return status;
}
