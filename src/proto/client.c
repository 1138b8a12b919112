/* SPDX-License-Identifier: MIT */
/*
 * Blocking on purpose: a command has nothing else to do than to wait for the daemon, and a signal
 * that ends the command closes the connection, which is how the daemon learns that nobody waits any
 * more. Sentences say what to do, because whoever reads them is at a shell prompt.
 */
#include "proto/client.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/text.h"
#include "proto/message.h"

#define START_IT "start it with 'systemctl start dibsd', or name another socket with --socket"

static int refused(const char *path, struct error *err)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return error_set(err, -EACCES, "client.permission",
			"you may not look into the folder of %s; ask an administrator of this "
			"machine",
			path);
	return error_set(err, -EACCES, "client.permission",
		"you may not use %s; its group is %u: ask an administrator to make you a member, "
		"then log in again",
		path, (unsigned)st.st_gid);
}

static int connect_failed(int code, const char *path, struct error *err)
{
	if (code == -ENOENT)
		return error_set(err, code, "client.no-daemon",
			"dibsd does not run here (no socket %s); " START_IT, path);
	if (code == -ECONNREFUSED)
		return error_set(err, code, "client.no-daemon",
			"dibsd does not run here (nobody listens at %s); " START_IT, path);
	if (code == -EACCES)
		return refused(path, err);
	return error_errno(err, code, "client.connect", "cannot reach dibsd at %s", path);
}

const char *client_path(const char *path)
{
	if (!path)
		path = getenv("DIBS_SOCKET");
	return path && *path ? path : CLIENT_SOCKET_DEFAULT;
}

int client_connect(struct client *client, const char *path, struct error *err)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int r;

	client->fd = -1;
	frame_reader_init(&client->reader, FRAME_REPLY_MAX);
	path = client_path(path);
	if (strlen(path) >= sizeof(address.sun_path))
		return error_set(err, -ENAMETOOLONG, "client.path",
			"the path of the socket has %zu bytes, at most %zu are possible; name a "
			"shorter one",
			strlen(path), sizeof(address.sun_path) - 1);
	text_copy(address.sun_path, sizeof(address.sun_path), path);
	client->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (client->fd < 0)
		return error_errno(err, -errno, "client.connect", "cannot make a socket");
	do
		r = connect(client->fd, (struct sockaddr *)&address, sizeof(address)) < 0 ? -errno
											  : 0;
	while (r == -EINTR);
	if (r < 0) {
		client_close(client);
		return connect_failed(r, path, err);
	}
	return 0;
}

void client_close(struct client *client)
{
	closep(&client->fd);
	client->fd = -1;
	frame_reader_clear(&client->reader);
}

static char *call_text(const char *method, json_t *parameters, bool more)
{
	_cleanup_(json_decrefp) json_t *message = json_object();

	if (json_object_set_new(message, "method", json_string(method)) < 0)
		return NULL;
	if (parameters && json_object_set(message, "parameters", parameters) < 0)
		return NULL;
	if (more && json_object_set_new(message, "more", json_true()) < 0)
		return NULL;
	return json_dumps(message, JSON_COMPACT);
}

int client_send(
	struct client *client, const char *method, json_t *parameters, bool more, struct error *err)
{
	_cleanup_(freep) char *text = call_text(method, parameters, more);
	_cleanup_(frame_writer_clear) struct frame_writer writer;
	int r;

	frame_writer_init(&writer, FRAME_REQUEST_MAX);
	if (!text)
		return error_set(err, -ENOMEM, "client.memory", "out of memory");
	r = frame_writer_put(&writer, text, strlen(text));
	if (r == -ENOBUFS)
		return error_set(err, -EMSGSIZE, "client.too-large",
			"the request is larger than %d bytes; ask for less at once",
			FRAME_REQUEST_MAX);
	if (r == 0)
		r = frame_writer_flush(&writer, client->fd);
	/* A daemon that turns a connection away says why and hangs up without reading. */
	if (r < 0 && r != -EPIPE && r != -ECONNRESET)
		return error_errno(err, r, "client.send", "cannot send to dibsd");
	return 0;
}

/* The next whole message. */
static int receive_frame(struct client *client, char **ret, size_t *ret_size,
	enum client_exit *ret_exit, struct error *err)
{
	while (!(*ret = frame_reader_next(&client->reader, ret_size))) {
		ssize_t n = frame_reader_fill(&client->reader, client->fd);

		if (n > 0)
			continue;
		*ret_exit = EXIT_UNREACHABLE;
		if (n == 0 || n == -ECONNRESET)
			return error_set(err, -ECONNRESET, "client.hangup",
				"dibsd went away before it answered; see 'systemctl status dibsd', "
				"then 'dibs' for what was done");
		if (n == -EAGAIN)
			return error_set(err, -ETIMEDOUT, "client.timeout",
				"dibsd does not answer; see 'systemctl status dibsd'");
		*ret_exit = EXIT_FAULT;
		if (n == -EMSGSIZE)
			return error_set(err, (int)n, "client.reply",
				"dibsd sent a reply of more than %d MiB; ask for less at once",
				FRAME_REPLY_MAX / (1024 * 1024));
		return error_errno(err, (int)n, "client.receive", "cannot receive from dibsd");
	}
	return 0;
}

/* What errors mean to a shell. Those without a message of their own get a sentence around member.
 */
static const struct remote_error {
	const char *name, *id;
	enum client_exit exit;
	const char *member, *before, *after;
} remote_errors[] = {
	{ "org.dibs.Invalid", "remote.invalid", EXIT_INVALID },
	{ "org.dibs.Refused", "remote.refused", EXIT_REFUSED },
	{ "org.dibs.NotFree", "remote.not-free", EXIT_NOT_FREE },
	{ "org.dibs.Fault", "remote.fault", EXIT_FAULT },
	{ "org.varlink.service.InvalidParameter", "remote.parameter", EXIT_INVALID, "parameter",
		"dibsd does not accept the parameter '", "' as it was given" },
	{ "org.varlink.service.MethodNotFound", "remote.method", EXIT_FAULT, "method",
		"dibsd does not know the method '",
		"'; it may be older than this command: 'systemctl restart dibsd'" },
};

static const struct remote_error *find_remote_error(const char *name)
{
	static const struct remote_error other = { NULL, "remote.other", EXIT_FAULT };

	for (size_t i = 0; i < ELEMENTSOF(remote_errors); i++)
		if (strcmp(remote_errors[i].name, name) == 0)
			return &remote_errors[i];
	return &other;
}

static int remote_failed(
	const char *name, json_t *parameters, enum client_exit *ret_exit, struct error *err)
{
	const struct remote_error *e = find_remote_error(name);
	const char *text = json_string_value(json_object_get(parameters, "message"));
	const char *before = "", *after = "";
	char safe[ERROR_TEXT_SIZE];

	if (!text && e->member) {
		text = json_string_value(json_object_get(parameters, e->member));
		before = e->before;
		after = e->after;
	}
	if (!text) {
		text = name;
		before = "dibsd answered with the error ";
		after = "";
	}
	text_copy(safe, sizeof(safe), text);
	*ret_exit = e->exit;
	return error_set(err, -EREMOTEIO, e->id, "%s%s%s", before, safe, after);
}

/* Security: what answers need not be dibsd, nor a dibsd that can be trusted, and it is root who
 * asks; so no text gets past here that a terminal would obey. */
static int sanitize(json_t *value)
{
	_cleanup_(freep) char *copy = NULL;
	json_t *member;
	const char *key;
	size_t i;

	json_array_foreach (value, i, member)
		if (sanitize(member) < 0)
			return -ENOMEM;
	json_object_foreach (value, key, member)
		if (sanitize(member) < 0)
			return -ENOMEM;
	if (!json_is_string(value))
		return 0;
	copy = strdup(json_string_value(value));
	if (!copy)
		return -ENOMEM;
	text_sanitize(copy);
	if (strcmp(copy, json_string_value(value)) == 0)
		return 0;
	return json_string_set(value, copy) < 0 ? -ENOMEM : 0;
}

int client_receive(struct client *client, json_t **ret, bool *ret_continues,
	enum client_exit *ret_exit, struct error *err)
{
	_cleanup_(json_decrefp) json_t *message = NULL;
	json_t *name, *parameters;
	char *text;
	size_t size;
	int r = receive_frame(client, &text, &size, ret_exit, err);

	if (r < 0)
		return r;
	message = json_loadb(text, size, JSON_REJECT_DUPLICATES, NULL);
	name = json_object_get(message, "error");
	parameters = json_object_get(message, "parameters");
	*ret_exit = EXIT_FAULT;
	if (!json_is_object(message) || (name && !json_is_string(name)) ||
		(parameters && !json_is_object(parameters)))
		return error_set(err, -EBADMSG, "client.reply",
			"what answers there does not speak Varlink; is it dibsd?");
	if (sanitize(message) < 0)
		return error_set(err, -ENOMEM, "client.memory", "out of memory");
	if (name)
		return remote_failed(json_string_value(name), parameters, ret_exit, err);
	*ret = parameters ? json_incref(parameters) : json_object();
	*ret_continues = json_is_true(json_object_get(message, "continues"));
	*ret_exit = EXIT_OK;
	return 0;
}

enum client_exit client_call(
	const char *path, const char *method, json_t *parameters, json_t **ret, struct error *err)
{
	_cleanup_(client_close) struct client client;
	const struct timeval patience = { .tv_sec = CALL_PATIENCE_SEC };
	enum client_exit exit_code = EXIT_FAULT;
	bool continues;
	int r;

	if (client_connect(&client, path, err) < 0)
		return EXIT_UNREACHABLE;
	setsockopt(client.fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	r = client_send(&client, method, parameters, false, err);
	if (r < 0)
		return r == -EMSGSIZE ? EXIT_INVALID : EXIT_FAULT;
	client_receive(&client, ret, &continues, &exit_code, err);
	return exit_code;
}
