"""What is not there, not allowed or no longer wanted, raw and by the helpers, as OpenAI's Python SDK says it."""

import unittest

import openai
from cutting import EVERYTHING, client_of, rest

ENDLESS = {"model": "scripted", "input": "Talk for ever."}
NOBODY = "resp_0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3"


class Errors(unittest.TestCase):
    def setUp(self):
        self.client = client_of("TOKENWIRE_URL")
        self.addCleanup(self.client.close)
        self.responses = self.client.responses

    def created(self, **more):
        """Every way to create a response, each to its first event."""

        def first(stream):
            with stream as events:
                return next(iter(events))

        yield lambda: self.responses.create(**more)
        yield lambda: self.responses.create(background=True, **more)
        yield lambda: first(self.responses.create(stream=True, **more))
        yield lambda: first(self.responses.stream(**more))

    def answered(self, **more):
        def first(stream):
            with stream as chunks:
                return next(iter(chunks))

        yield lambda: self.client.chat.completions.create(**more)
        yield lambda: first(self.client.chat.completions.create(stream=True, **more))
        yield lambda: first(self.client.chat.completions.stream(**more))

    def read(self, name):
        """Every way to read a response."""
        yield lambda: self.responses.retrieve(name)
        yield lambda: rest(self.responses.retrieve(name, stream=True))
        yield lambda: rest(self.responses.retrieve(name, stream=True, starting_after=3))
        yield lambda: rest(self.responses.stream(response_id=name))
        yield lambda: rest(self.responses.stream(response_id=name, starting_after=3))
        yield lambda: self.responses.input_items.list(name)
        yield lambda: self.responses.cancel(name)
        yield lambda: self.responses.delete(name)

    def raises(self, error, calls, **expected):
        for number, call in enumerate(calls):
            with self.subTest(call=number), self.assertRaises(error) as raised:
                call()
            found = {field: getattr(raised.exception, field) for field in expected}
            self.assertEqual(found, expected)
            self.assertTrue(raised.exception.request_id.startswith("req_"))
            self.assertIsInstance(raised.exception.message, str)

    def test_what_is_not_there_is_not_found_however_it_is_asked_for(self):
        for name in (NOBODY, "resp_1", "chatcmpl-1", "a"):
            self.raises(openai.NotFoundError, self.read(name), status_code=404, code="not_found", type="invalid_request_error")
        self.raises(openai.NotFoundError, self.created(model="gpt", input="Greet me."), status_code=404, code="model_not_found")
        messages = [{"role": "user", "content": "Greet me."}]
        self.raises(openai.NotFoundError, self.answered(model="gpt", messages=messages), status_code=404, code="model_not_found")

    def test_what_is_wrong_is_a_bad_request_that_names_it_however_it_is_asked_for(self):
        for param, wrong in [("temperature", 3), ("max_output_tokens", 0), ("conversation", "conv_1"), ("input", "")]:
            asked = {"model": "scripted", "input": "Greet me.", param: wrong}
            self.raises(openai.BadRequestError, self.created(**asked), status_code=400, param=param, type="invalid_request_error")
        for param, wrong in [("temperature", 3), ("n", 2), ("max_tokens", 0), ("messages", [])]:
            asked = {"model": "scripted", "messages": [{"role": "user", "content": "Greet me."}], param: wrong}
            self.raises(openai.BadRequestError, self.answered(**asked), status_code=400, param=param, type="invalid_request_error")
        gone = {"model": "scripted", "input": "Greet me.", "previous_response_id": NOBODY}
        self.raises(openai.BadRequestError, self.created(**gone), code="previous_response_not_found")

    def test_a_wrong_place_to_resume_at_is_a_bad_request(self):
        name = self.responses.create(model="scripted", input="Greet me.").id
        places = [lambda place=place: self.responses.retrieve(name, stream=True, starting_after=place) for place in (-1, 1.5, "a")]
        self.raises(openai.BadRequestError, places, param="starting_after")

    def test_a_stopped_response_ends_for_whoever_reads_it(self):
        for reading in ("raw", "helper"):
            with self.responses.create(background=True, stream=True, **ENDLESS) as create:
                events = [next(create)]
                name = events[0].response.id
                if reading == "helper":
                    with self.responses.stream(response_id=name) as helper:
                        events = [next(helper)]
                        self.responses.cancel(name)
                        events += helper
                else:
                    self.responses.cancel(name)
                    events += create
            self.assertEqual([event.sequence_number for event in events], list(range(len(events))))
            self.assertEqual((events[-1].type, events[-1].response.status), ("response.incomplete", "cancelled"))
            self.assertEqual(self.responses.retrieve(name).status, "cancelled")
            self.assertEqual(self.responses.cancel(name).status, "cancelled")

    def test_a_response_that_has_ended_is_not_stopped_any_more(self):
        response = self.responses.create(model="scripted", input="Greet me.")
        self.assertEqual(self.responses.cancel(response.id), response)

    def test_a_stopped_chat_completion_raises(self):
        messages = [{"role": "user", "content": ENDLESS["input"]}]
        with self.client.chat.completions.create(model="scripted", stream=True, messages=messages) as stream:
            name = next(stream).id
            self.responses.cancel(name)
            with self.assertRaises(openai.APIError) as raised:
                list(stream)
        self.assertEqual(raised.exception.code, "cancelled")

    def test_a_forgotten_response_is_not_there_however_it_is_asked_for(self):
        ended = rest(self.responses.create(background=True, stream=True, **EVERYTHING))[0].response.id
        with self.responses.create(background=True, stream=True, **ENDLESS) as create:
            running = next(create).response.id
            self.responses.delete(running)
            # Its reader sees an end, or a failure: never the silent end of what was not complete.
            try:
                self.assertEqual(list(create)[-1].type, "response.incomplete")
            except openai.APIError as error:
                self.assertEqual(error.code, "lost")
        self.responses.delete(ended)
        for name in (ended, running):
            self.raises(openai.NotFoundError, self.read(name), status_code=404, code="not_found")
            after = {"model": "scripted", "input": "Greet me.", "previous_response_id": name}
            self.raises(openai.BadRequestError, self.created(**after), code="previous_response_not_found")

    def test_what_was_not_to_be_stored_is_not_there(self):
        response = self.responses.create(store=False, model="scripted", input="Greet me.")
        self.raises(openai.NotFoundError, list(self.read(response.id))[:7], status_code=404, code="not_found")


if __name__ == "__main__":
    unittest.main()
