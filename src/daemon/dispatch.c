/* SPDX-License-Identifier: MIT */
/* From a frame to a handler: method table, who may, parameters. */
#include <errno.h>
#include <string.h>

#include "daemon/api.h"
#include "dibs-config.h"

static json_t *one_string(const char *key, const char *value)
{
	return json_pack("{s:s}", key, value);
}

static void get_info(struct connection *c)
{
	connection_reply(c, json_pack("{s:s, s:s, s:s, s:s, s:[s,s]}", "vendor", "dibs", "product",
				    "dibsd", "version", DIBS_VERSION, "url", "", "interfaces",
				    "org.varlink.service", "org.dibs"));
}

static const char service_description[] =
	"# What every Varlink service answers\n"
	"interface org.varlink.service\n\n"
	"method GetInfo() -> (\n  vendor: string,\n  product: string,\n  version: string,\n"
	"  url: string,\n  interfaces: []string\n)\n\n"
	"method GetInterfaceDescription(interface: string) -> (description: string)\n\n"
	"error InterfaceNotFound (interface: string)\n"
	"error MethodNotFound (method: string)\n"
	"error MethodNotImplemented (method: string)\n"
	"error InvalidParameter (parameter: string)\n"
	"error PermissionDenied ()\n"
	"error ExpectedMore ()\n";

static void get_interface_description(struct connection *c, json_t *parameters)
{
	const char *name = json_string_value(json_object_get(parameters, "interface"));

	if (!name)
		connection_error(c, "org.varlink.service.InvalidParameter",
			one_string("parameter", "interface"));
	else if (strcmp(name, "org.dibs") == 0)
		connection_reply(c, one_string("description", org_dibs_varlink));
	else if (strcmp(name, "org.varlink.service") == 0)
		connection_reply(c, one_string("description", service_description));
	else
		connection_error(
			c, "org.varlink.service.InterfaceNotFound", one_string("interface", name));
}

static const struct method *find_method(const char *name)
{
	static const struct method *const tables[] = { api_status_methods, api_request_methods,
		api_lease_methods, api_transfer_methods, api_admin_methods, api_submit_methods,
		api_job_methods, api_wait_methods, api_report_methods, api_events_methods,
		api_import_methods };

	for (size_t i = 0; i < ELEMENTSOF(tables); i++)
		for (const struct method *method = tables[i]; method->name; method++)
			if (strcmp(method->name, name) == 0)
				return method;
	return NULL;
}

/* Security: what one user can make us write is bounded; root keeps a way in. */
struct verdict api_take_changes(struct manager *m, const struct connection *c, size_t n)
{
	unsigned limit = m->config->changes_per_hour;

	while (c->uid != 0 && n-- > 0)
		if (!rate_take(&m->rate, c->account, clock_now(&m->clock), limit))
			return verdict_make(VERDICT_REFUSED, "limit.changes-per-hour",
				"you asked for more than %u changes within an hour; try again "
				"later",
				limit);
	return verdict_ok();
}

static void run_method(
	struct manager *m, struct connection *c, const struct method *method, json_t *parameters)
{
	_cleanup_(freep) void *decoded = calloc(1, MAX(method->parameters_size, (size_t)1));
	struct actor actor = connection_actor(c);
	struct error err = { 0 };
	const char *name;
	int r;

	/* Security: methods of administrators are for administrators. */
	if (method->admin) {
		struct verdict v = access_admin(&actor, "do this");

		if (v.kind != VERDICT_OK) {
			connection_refuse(c, &v);
			return;
		}
	}
	if (method->changes) {
		struct verdict v = api_take_changes(m, c, 1);

		if (v.kind != VERDICT_OK) {
			connection_refuse(c, &v);
			return;
		}
	}
	if (!decoded) {
		connection_fault(c, &(struct error){ .id = "memory", .text = "out of memory" });
		return;
	}
	if (method->defaults)
		memcpy(decoded, method->defaults, method->parameters_size);
	r = fields_decode(method->fields, method->n_fields, parameters, decoded, &name, &err);
	if (r < 0)
		connection_error(c, "org.varlink.service.InvalidParameter",
			json_pack(
				"{s:s, s:s}", "parameter", name ? name : "", "message", err.text));
	else if ((r = method->handler(m, c, decoded, &err)) < 0) {
		if (!err.id)
			error_errno(&err, r, "fault", "%s failed", method->name);
		connection_fault(c, &err);
	}
	fields_clear(method->fields, method->n_fields, decoded);
}

static void not_found(struct connection *c, const char *method)
{
	const char *dot = strrchr(method, '.');
	_cleanup_(freep) char *interface =
		strndup(method, dot ? (size_t)(dot - method) : strlen(method));

	if (interface && (strcmp(interface, "org.dibs") == 0 ||
				 strcmp(interface, "org.varlink.service") == 0))
		connection_error(
			c, "org.varlink.service.MethodNotFound", one_string("method", method));
	else
		connection_error(c, "org.varlink.service.InterfaceNotFound",
			one_string("interface", interface ? interface : ""));
}

static void route(struct manager *m, struct connection *c, const struct call *call)
{
	const struct method *method = find_method(call->method);

	if (method)
		run_method(m, c, method, call->parameters);
	else if (strcmp(call->method, "org.varlink.service.GetInfo") == 0)
		get_info(c);
	else if (strcmp(call->method, "org.varlink.service.GetInterfaceDescription") == 0)
		get_interface_description(c, call->parameters);
	else
		not_found(c, call->method);
}

void dispatch(struct manager *m, struct connection *c, const char *text, size_t size)
{
	_cleanup_(call_clear) struct call call = { 0 };
	struct error err = { 0 };

	if (call_parse(text, size, &call, &err) < 0) {
		/* Not Varlink: say so and hang up, since nothing after it can be trusted. */
		struct verdict v = verdict_make(VERDICT_INVALID, "call.malformed", "%s", err.text);

		c->more = c->oneway = false;
		c->closing = true;
		connection_refuse(c, &v);
		return;
	}
	clock_look(&m->clock);
	c->more = call.more;
	c->oneway = call.oneway;
	route(m, c, &call);
}
