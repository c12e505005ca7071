"""One Flask application in a process, and the pipeline from a JSON body to a JSON answer.

The rule of this file: names, routes, statuses, bodies and metrics are those of model-serving 2.0.6,
because clients and dashboards stand on them. Four things are better here, on which none can:

    404, 405 and 500 pages          are JSON, `{"error": ...}`, with the same status and headers
    an answer that fails its schema says why, without what failed
    an object without a name        can be a route: it is the handler itself
    a handler that was loaded again takes the place of the one before

What is better, but visible, waits for `MODEL_SERVING_HONEST_STATUS=true`: a body that is no JSON
object, or does not fit the handler's parameters, is answered with 400 instead of 500, and an answer
that fails its schema with 500 instead of 400.
"""

import functools
import inspect
import logging
import os

import google.protobuf.json_format as proto_json
from flask import Flask, jsonify, request
from prometheus_flask_exporter import PrometheusMetrics
from werkzeug.exceptions import BadRequest, HTTPException

from aylien_model_serving.kept import once

OK, BAD_REQUEST, INTERNAL_SERVER_ERROR = 200, 400, 500


class InvalidRequest(Exception):
    """Raised by a handler whose client is at fault; the text is for the client."""


class InvalidResponse(Exception):
    """A handler's answer is not what its schema says."""


class NoArguments(Exception):
    """A body that no handler could be called with; the text says why."""


def _error_page(error):
    """A page of Flask's, as JSON. Its headers stay: `Allow` tells which methods there are."""
    response = error.get_response()
    response.data = jsonify(error=f"{error.code} {error.name}: {error.description}").data
    response.content_type = "application/json"
    return response


def _application():
    app = Flask(__name__, static_folder=None)
    app.config["HONEST_STATUS"] = False
    app.config.from_prefixed_env("MODEL_SERVING")
    app.register_error_handler(HTTPException, _error_page)
    return app


_app = once("app", _application)
_metrics = functools.partial(PrometheusMetrics, _app, group_by="endpoint", path="/__metrics")


class FlaskAppWrapper:
    """The application of the process; however often it is made, there is one.

    Attributes:
        app: the Flask application.
        metrics: what it counts, shown at `/__metrics`. With PROMETHEUS_MULTIPROC_DIR it shows the
            sum of all processes.
        logger: of the pipeline; its level is LOG_LEVEL, or WARNING.
    """

    app = _app
    metrics = once("metrics", _metrics)
    logging.basicConfig(format="%(asctime)s %(levelname)s: %(message)s")
    logger = logging.getLogger(__name__)
    logger.setLevel(os.environ.get("LOG_LEVEL", logging.WARNING))

    @staticmethod
    def parse_to_protobuf_msg(req_data, proto_msg, ignore_unknowns=False):
        """Fill a message from what JSON was made of it.

        Raises:
            google.protobuf.json_format.ParseError: it does not fit, or has a field that the message
                has not.
        """
        return proto_json.ParseDict(req_data, proto_msg, ignore_unknown_fields=ignore_unknowns)

    @staticmethod
    def parse_proto_msg_to_json(response, preserve_field_name=True, include_defaults=True):
        """The JSON text of a message."""
        return proto_json.MessageToJson(
            response,
            preserving_proto_field_name=preserve_field_name,
            always_print_fields_with_no_presence=include_defaults,
        )

    @staticmethod
    @metrics.do_not_track()
    def ping():
        """What `/__ping` answers."""
        return "Success", OK

    @staticmethod
    def process_json(callable_handler, schema=None):
        """Call a handler with the members of the JSON object that the request carries.

        Args:
            callable_handler: called with keywords; what it returns is sent as JSON.
            schema: a module made by protoc, or anything else with the messages `Request` and
                `Response`. Both are only checked against: the handler is given the JSON.
        """
        app, logger = FlaskAppWrapper.app, FlaskAppWrapper.logger
        status = OK
        try:
            response = FlaskAppWrapper._answer(callable_handler, schema)
        except proto_json.Error as error:
            status, level, said = BAD_REQUEST, logging.ERROR, error
        except InvalidRequest as error:
            status, level, said = BAD_REQUEST, logging.WARNING, error
        except InvalidResponse as error:
            honest = app.config["HONEST_STATUS"]
            status = INTERNAL_SERVER_ERROR if honest else BAD_REQUEST
            level, said = logging.ERROR, error
        except NoArguments as error:
            status, level, said = BAD_REQUEST, logging.WARNING, error
        except Exception as error:  # noqa: BLE001  whatever a handler raises
            status, level, said = INTERNAL_SERVER_ERROR, logging.ERROR, error
        if status != OK:
            logger.log(level, "%s", said)
            response = {"error": str(said)}
        # What is no JSON is an unhandled exception, counted as such and answered by a page.
        response = jsonify(response)
        response.status_code = status
        return response

    @staticmethod
    def _answer(handler, schema):
        data = _body()
        if schema is not None:
            FlaskAppWrapper.parse_to_protobuf_msg(data, schema.Request())
        if FlaskAppWrapper.app.config["HONEST_STATUS"]:
            _check_arguments(handler, data)
        response = handler(**data)
        if schema is not None:
            try:
                FlaskAppWrapper.parse_to_protobuf_msg(response, schema.Response())
            except proto_json.Error as error:
                raise InvalidResponse(str(error)) from None
        return response

    @staticmethod
    def create_app(routes=None):
        """The application with `/__ping` and these routes added.

        Args:
            routes: maps with `endpoint`, a URL rule of Flask's; `callable`, a function that calls
                `process_json`, or an object without a name, with which it is called; `methods`.

        Raises:
            AssertionError: two functions have the same name, or two routes are the same.
        """
        return add_routes(routes or [], FlaskAppWrapper.process_json)


def _body():
    """What is in the JSON body, whatever its content type says."""
    try:
        return request.get_json(force=True)
    except BadRequest as error:
        if FlaskAppWrapper.app.config["HONEST_STATUS"]:
            raise NoArguments(str(error)) from None
        raise


def _check_arguments(handler, data):
    if not isinstance(data, dict):
        raise NoArguments("The body must be a JSON object")
    try:
        signature = inspect.signature(handler)
    except (TypeError, ValueError):
        return  # one that does not tell: calling it will
    try:
        signature.bind(**data)
    except TypeError as error:
        raise NoArguments(str(error)) from None


def add_routes(routes, process_json):
    """Add `/__ping` and routes to the application of the process, which may be serving already.

    Args:
        routes: as `FlaskAppWrapper.create_app` has them.
        process_json: the pipeline for handlers that are routes themselves.
    """
    app = FlaskAppWrapper.app
    added = Flask(__name__, static_folder=None)  # knows all that can be said of a route
    added.url_map.converters = app.url_map.converters
    added.add_url_rule("/__ping", view_func=FlaskAppWrapper.ping, methods=["GET"])
    taken = set()
    for route in routes:
        view = _view(route["callable"], process_json)
        # The name stands as `endpoint` in the metrics.
        if added.view_functions.get(view.__name__, view) is not view:
            raise AssertionError(f"two routes have functions called {view.__name__!r}; rename one")
        if any((route["endpoint"], method.upper()) in taken for method in route["methods"]):
            raise AssertionError(f"the route {route['endpoint']!r} is declared twice")
        taken.update((route["endpoint"], method.upper()) for method in route["methods"])
        added.add_url_rule(route["endpoint"], view_func=view, methods=route["methods"])
    for name, view in added.view_functions.items():
        known = app.view_functions.get(name, view)
        if known is not view and _home(known) != _home(view):
            raise AssertionError(f"there is a route with a function called {name!r}; rename one")
    _merge(app, added)
    return app


def _view(target, process_json):
    if hasattr(target, "__name__"):
        return target

    def view():
        return process_json(target)

    view.__name__ = type(target).__name__
    view.__module__ = type(target).__module__
    view.__qualname__ = type(target).__qualname__
    return view


def _home(view):
    """Where a function was written; the same for one that was loaded again."""
    return view.__module__, view.__qualname__


def _merge(app, added):
    """Give an application the routes of another, in the place of their earlier selves.

    Not by `add_url_rule`, which refuses once a request was served.
    """
    rules = [*added.url_map.iter_rules()]
    rules += [
        rule for rule in app.url_map.iter_rules() if rule.endpoint not in added.view_functions
    ]
    url_map = app.url_map_class()
    url_map.converters = app.url_map.converters
    for rule in rules:
        copied = rule.empty()
        copied.provide_automatic_options = rule.provide_automatic_options
        url_map.add(copied)
    app.view_functions.update(added.view_functions)
    app.url_map = url_map
