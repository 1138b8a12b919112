/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <poll.h>

#include "base/text.h"
#include "cli/job.h"
#include "cli/logs.h"
#include "cli/public.h"
#include "compat/mgpu.h"

static bool is_gone(const struct log_sink *out)
{
	struct pollfd reader = { .fd = out->fd };

	return poll(&reader, 1, 0) == 1 && reader.revents & (POLLERR | POLLHUP | POLLNVAL);
}

/* Where its log cannot be read, its end still can. */
static int await(struct cli *cli, int64_t lease)
{
	_cleanup_(json_decrefp) json_t *ids = json_array();
	_cleanup_(freep) char *id = text_format("%lld", (long long)lease);

	if (!ids || !id || json_array_append_new(ids, json_string(id)) < 0)
		return complain(EXIT_FAULT, "out of memory");
	return job_wait(cli, ids, NULL);
}

int mgpu_follow(struct cli *cli, int64_t lease, const struct log_sink *out)
{
	_cleanup_(json_decrefp) json_t *ended = NULL;
	struct cell end = { 0 };
	int code;

	if (logs_follow(cli, lease, out, &ended) != EXIT_OK)
		return is_gone(out) ? -EPIPE : await(cli, lease);
	code = job_exit_code(ended);
	job_put_end(&end, &cli->people, ended);
	if (code == JOB_EXIT_NONE)
		complain(EXIT_OK, "#%lld did not run to its end: %s", (long long)lease,
			*end.text ? end.text : wire_text(ended, "end"));
	return code;
}
