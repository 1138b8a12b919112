/* SPDX-License-Identifier: MIT */
/* What a client of Multi-GPU Scheduler says; and, as the output of a job, what it is told. */
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/macro.h"
#include "fuzz.h"
#include "mgpu/demand.h"
#include "mgpu/stream.h"

#define PIECE_MAX 4096

static void check_demand(const char *text, size_t size)
{
	_cleanup_(json_decrefp) json_t *json = json_loadb(text, size, 0, NULL);
	_cleanup_(demand_clear) struct demand demand = { 0 };
	struct error err = { 0 };

	if (!json)
		return;
	if (demand_read(json, 60, &demand, &err) < 0) {
		REQUIRE(*err.text);
		return;
	}
	if (demand.kind == DEMAND_SUBMIT)
		REQUIRE(demand.job.remote && demand.job.n_words == 1 && *demand.job.words[0] &&
			(demand.job.gpus || demand.job.gpu_ids) && demand.job.limit_sec >= 1 &&
			demand.job.limit_sec <= 60 && demand.job.mem_mib >= 0);
	if (demand.kind == DEMAND_CANCEL)
		REQUIRE(demand.lease > 0);
}

/* One message of all that waits: it is JSON, and a line of ASCII. */
static void check_messages(int fd)
{
	static char text[8 * PIECE_MAX];
	ssize_t n;
	char *line = text, *end;

	while ((n = recv(fd, line, sizeof(text) - (size_t)(line - text) - 1, MSG_DONTWAIT)) > 0)
		line += n;
	*line = '\0';
	for (line = text; (end = strchr(line, '\n')); line = end + 1) {
		_cleanup_(json_decrefp) json_t *json =
			json_loadb(line, (size_t)(end - line), JSON_ALLOW_NUL, NULL);

		REQUIRE(json_is_string(json_object_get(json, "type")));
		for (; line < end; line++)
			REQUIRE((unsigned char)*line >= 0x20 && (unsigned char)*line < 0x80);
	}
	REQUIRE(*line == '\0');
}

static void check_stream(const char *text, size_t size)
{
	struct stream stream = { 0 };
	size_t first = size / 3;
	int fds[2];

	size = MIN(size, PIECE_MAX);
	first = MIN(first, size);
	REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
	stream.fd = fds[0];
	REQUIRE(stream_put(&stream, text, first) == 0);
	REQUIRE(stream.n_rest < sizeof(stream.rest));
	REQUIRE(stream_put(&stream, text + first, size - first) == 0);
	REQUIRE(stream_end(&stream, "1", 0) == 0);
	check_messages(fds[1]);
	close(fds[0]);
	close(fds[1]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	check_demand((const char *)data, size);
	check_stream((const char *)data, size);
	return 0;
}
