"""Responses over WebSockets, compaction and waiting, as OpenAI's Python SDK does them."""

import json
import unittest

from cutting import EVERYTHING, TOOLS, client_of, rest

ENDS = {"response.completed", "response.incomplete", "response.failed", "error"}
GREET = {"model": "scripted", "input": "Greet me."}


def told(socket):
    """The events of one response, to its last."""
    events = []
    for event in socket:
        events.append(event)
        if event.type in ENDS:
            return events
    raise AssertionError("the socket was closed in mid-answer")


class Sockets(unittest.TestCase):
    def setUp(self):
        self.client = client_of("TOKENWIRE_URL")
        self.addCleanup(self.client.close)
        self.responses = self.client.responses

    def test_a_socket_tells_what_a_stream_tells(self):
        with self.responses.connect() as socket:
            for asked in [GREET, EVERYTHING]:
                socket.response.create(**asked)
                events = told(socket)
                again = rest(self.responses.retrieve(events[0].response.id, stream=True))
                self.assertEqual([event.to_dict() for event in events], [event.to_dict() for event in again])

    def test_an_agent_goes_on_without_anything_being_stored(self):
        with self.responses.connect() as socket:
            asked = {"model": "scripted", "store": False, "tools": TOOLS}
            socket.response.create(input="How warm is it in Oslo?", **asked)
            first = told(socket)[-1].response
            (call,) = first.output
            result = {"type": "function_call_output", "call_id": call.call_id, "output": "7"}
            socket.response.create(input=[result], previous_response_id=first.id, **asked)
            self.assertEqual(told(socket)[-1].response.output_text, "It is 7 degrees.")
        with self.responses.connect() as other:
            other.response.create(input="And now?", previous_response_id=first.id, **asked)
            (refused,) = told(other)
            self.assertEqual(refused.to_dict()["error"]["code"], "previous_response_not_found")
            other.response.create(**GREET)
            self.assertEqual(told(other)[-1].type, "response.completed")

    def test_a_second_request_does_the_first_no_harm(self):
        with self.responses.connect() as socket:
            socket.response.create(model="scripted", input="Talk on.")
            self.assertEqual(socket.recv().type, "response.created")
            socket.response.create(**GREET)
            events = []
            while not events or events[-1].type not in ENDS - {"error"}:
                events.append(socket.recv())
            (refused,) = [event for event in events if event.type == "error"]
            self.assertEqual(refused.to_dict()["error"]["code"], "response_already_in_flight")
            self.assertTrue(events[-1].response.output_text.endswith("nine ten"))

    def test_a_warm_up_is_gone_on_from(self):
        with self.responses.connect() as socket:
            socket.send_raw(json.dumps({"type": "response.create", "model": "scripted", "generate": False}))
            warm = told(socket)[-1].response
            self.assertEqual(warm.output, [])
            socket.response.create(previous_response_id=warm.id, **GREET)
            self.assertEqual(told(socket)[-1].type, "response.completed")

    def test_what_a_conversation_was_compacted_to_goes_on(self):
        said = [
            {"role": "user", "content": "My name is Ann."},
            {"role": "assistant", "content": "Hello Ann."},
        ]
        compacted = self.responses.compact(model="scripted", input=said)
        self.assertEqual(compacted.object, "response.compaction")
        self.assertEqual([item.type for item in compacted.output], ["message", "compaction"])
        window = [item.to_dict(warnings=False) for item in compacted.output]
        question = {"role": "user", "content": "Greet me."}
        with self.responses.connect() as socket:
            socket.response.create(model="scripted", store=False, input=[*window, question])
            self.assertEqual(told(socket)[-1].type, "response.completed")
        response = self.responses.create(model="scripted", input=[*window, question])
        self.assertEqual(response.status, "completed")

    def test_a_response_is_waited_for_when_the_client_says_so(self):
        for more in [{"extra_query": {"wait": 50}}, {"extra_headers": {"Prefer": "wait=50"}}]:
            begun = self.responses.create(model="scripted", input="Talk on.", background=True)
            self.assertIn(begun.status, ["queued", "in_progress"])
            self.assertEqual(self.responses.retrieve(begun.id, **more).status, "completed")
