/* SPDX-License-Identifier: MIT */
/* For administrators. Whether somebody is one, the daemon knows. */
#include <inttypes.h>
#include <string.h>

#include "base/text.h"
#include "cli/job.h"
#include "cli/lease.h"
#include "cli/public.h"
#include "model/gpu.h"

static bool utf8_or_complain(const char *text)
{
	if (text_is_utf8(text))
		return true;
	complain(EXIT_INVALID, "'%s' is not valid UTF-8", text);
	return false;
}

/* A reason is what people ask for when their GPU is gone. */
static const char *reason_or_complain(struct cli *cli)
{
	const char *reason = cli_value(cli, OPT_REASON);

	if (reason && *reason)
		return utf8_or_complain(reason) ? reason : NULL;
	complain(EXIT_INVALID, "--reason TEXT is missing: people will ask why");
	return NULL;
}

static enum client_exit print_gpu(struct cli *cli, json_t *reply)
{
	json_t *gpu = json_object_get(reply, "gpu");
	char reason[GPU_REASON_SIZE];

	people_rename(&cli->people, reason, sizeof(reason), wire_text(gpu, "reason"));
	printf("GPU %" PRId64 " is %s%s%s\n", wire_int(gpu, "index", 0), wire_text(gpu, "state"),
		*reason ? ": " : "", reason);
	return EXIT_OK;
}

enum client_exit verb_admin_drain(struct cli *cli)
{
	_cleanup_(json_decrefp) json_t *parameters = NULL, *reply = NULL;
	const char *gpu = cli->args.words[0], *reason = reason_or_complain(cli);
	enum client_exit exit;

	if (!reason || !utf8_or_complain(gpu))
		return EXIT_INVALID;
	parameters = json_pack("{ss ss}", "gpu", gpu, "reason", reason);
	exit = cli_call(cli, "org.dibs.Drain", parameters, &reply);
	return exit == EXIT_OK ? print_gpu(cli, reply) : exit;
}

enum client_exit verb_admin_undrain(struct cli *cli)
{
	_cleanup_(json_decrefp) json_t *parameters = NULL, *reply = NULL;
	const char *gpu = cli->args.words[0];
	enum client_exit exit;

	if (!utf8_or_complain(gpu))
		return EXIT_INVALID;
	parameters = json_pack("{ss}", "gpu", gpu);
	exit = cli_call(cli, "org.dibs.Undrain", parameters, &reply);
	return exit == EXIT_OK ? print_gpu(cli, reply) : exit;
}

enum client_exit verb_admin_release(struct cli *cli)
{
	_cleanup_(json_decrefp) json_t *parameters = NULL, *reply = NULL;
	enum client_exit exit;
	const char *reason;
	int64_t id;

	exit = job_find(cli, cli->args.words[0], &id);
	if (exit != EXIT_OK)
		return exit;
	reason = reason_or_complain(cli);
	if (!reason)
		return EXIT_INVALID;
	parameters = json_pack("{sI ss}", "id", (json_int_t)id, "reason", reason);
	exit = cli_call(cli, "org.dibs.AdminRelease", parameters, &reply);
	if (exit == EXIT_OK)
		lease_print_released(json_object_get(reply, "lease"));
	return exit;
}

/* The replies of GetStatus and SetGuard say it alike. */
static enum client_exit print_guard(struct cli *cli, json_t *reply)
{
	const char *mode = wire_text(reply, "guard"), *method = wire_text(reply, "guard_method");
	const char *words = strcmp(method, "acl") == 0 ? ", by ACLs of the device nodes"
			    : *method                  ? ", by a device filter"
						       : "";
	const char *problem = wire_text(reply, "guard_problem");
	char text[512];

	people_rename(&cli->people, text, sizeof(text), problem);
	printf("guard: %s%s\n", mode, words);
	if (*text)
		printf("%sproblem%s: %s\n", term_style(&cli->term, STYLE_WARN),
			term_plain(&cli->term), text);
	return EXIT_OK;
}

enum client_exit verb_admin_guard(struct cli *cli)
{
	static const char *const modes[] = { "off", "watch", "deny", "configured" };
	_cleanup_(json_decrefp) json_t *parameters = NULL, *reply = NULL;
	const char *word = cli->args.words[0];
	enum client_exit exit;
	size_t i = 0;

	while (word && i < ELEMENTSOF(modes) && strcmp(word, modes[i]) != 0)
		i++;
	if (i == ELEMENTSOF(modes))
		return complain(EXIT_INVALID, "'%s' is none of off, watch, deny, configured", word);
	if (word)
		parameters = json_pack("{ss}", "mode", word);
	exit = cli_call(cli, word ? "org.dibs.SetGuard" : "org.dibs.GetStatus", parameters, &reply);
	return exit == EXIT_OK ? print_guard(cli, reply) : exit;
}

enum client_exit verb_admin_sensor(struct cli *cli)
{
	_cleanup_(json_decrefp) json_t *parameters = NULL, *reply = NULL;
	const char *action = cli->args.words[0];
	enum client_exit exit;

	if (strcmp(action, "pause") != 0 && strcmp(action, "resume") != 0)
		return complain(EXIT_INVALID, "'%s' is neither pause nor resume", action);
	parameters = json_pack("{ss}", "action", action);
	exit = cli_call(cli, "org.dibs.ControlSensor", parameters, &reply);
	if (exit == EXIT_OK)
		printf("the sensor is %s\n", *action == 'p' ? "paused" : "running");
	return exit;
}
