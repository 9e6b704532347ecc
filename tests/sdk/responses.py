"""Responses, as OpenAI's Python SDK sees them."""

import os
import unittest

import openai

TOOLS = [{"type": "function", "name": "get_weather", "parameters": {"type": "object"}, "strict": False}]


def asked(text, model="scripted", **more):
    return {"model": model, "input": text, **more}


class Responses(unittest.TestCase):
    def setUp(self):
        self.client = openai.OpenAI(base_url=os.environ["TOKENWIRE_URL"] + "v1", api_key="any", max_retries=0)
        self.addCleanup(self.client.close)
        self.responses = self.client.responses

    def ended(self, **more):
        """The events of a response in the background, to the last."""
        with self.responses.create(background=True, stream=True, **more) as stream:
            return list(stream)

    def test_a_whole_response_has_its_text_and_what_it_cost(self):
        response = self.responses.create(**asked("Greet me.", metadata={"a": "b"}))
        self.assertEqual((response.status, response.output_text), ("completed", "Hello,\n👩‍🚀!"))
        self.assertEqual((response.usage.input_tokens, response.usage.output_tokens), (3, 4))
        self.assertEqual(self.responses.retrieve(response.id), response)
        self.assertEqual(response.metadata, {"a": "b"})

    def test_events_are_numbered_and_any_of_them_can_be_resumed_after(self):
        events = self.ended(**asked("Think first."))
        self.assertEqual([event.sequence_number for event in events], list(range(len(events))))
        self.assertEqual(events[0].type, "response.created")
        self.assertEqual(events[-1].type, "response.completed")
        self.assertIn("response.reasoning_text.delta", [event.type for event in events])
        name = events[0].response.id
        for event in events:
            after = event.sequence_number
            with self.responses.retrieve(name, stream=True, starting_after=after) as rest:
                self.assertEqual(list(rest), events[after + 1 :])

    def test_reasoning_is_a_summary_for_whoever_asks_for_one_and_resumed_as_one(self):
        events = self.ended(**asked("Think first.", reasoning={"summary": "auto"}))
        told = [event for event in events if event.type.startswith("response.reasoning")]
        kinds = dict.fromkeys(event.type.removeprefix("response.reasoning_summary_") for event in told)
        self.assertEqual(list(kinds), ["part.added", "text.delta", "text.done", "part.done"])
        thought = "".join(event.delta for event in told if event.type.endswith("delta"))
        item = events[-1].response.output[0]
        self.assertEqual(([one.text for one in item.summary], item.content, thought), ([thought], [], "Let me see."))
        for event in events:
            after = event.sequence_number
            with self.responses.stream(response_id=events[0].response.id, starting_after=after) as rest:
                self.assertEqual([more.type for more in rest], [more.type for more in events[after + 1 :]])
                self.assertEqual(rest.get_final_response().output[0].summary, item.summary)

    def test_the_helper_replays_a_response_from_its_start(self):
        name = self.ended(**asked("Greet me."))[0].response.id
        with self.responses.stream(response_id=name, starting_after=4) as stream:
            numbers = [event.sequence_number for event in stream]
            self.assertEqual(stream.get_final_response().output_text, "Hello,\n👩‍🚀!")
        self.assertEqual(numbers, list(range(5, 5 + len(numbers))))
        with self.responses.stream(**asked("Greet me.")) as stream:
            self.assertEqual(stream.get_final_response().output_text, "Hello,\n👩‍🚀!")

    def test_a_tool_is_called_and_its_result_goes_on_from_the_response(self):
        with self.responses.stream(**asked("How warm is it in Oslo?", tools=TOOLS)) as stream:
            first = stream.get_final_response()
        [call] = first.output
        self.assertEqual((call.type, call.call_id, call.arguments), ("function_call", "call_1", '{"city":"Oslo"}'))
        result = [{"type": "function_call_output", "call_id": call.call_id, "output": "7"}]
        second = self.responses.create(**asked(result, tools=TOOLS, previous_response_id=first.id))
        self.assertEqual(second.output_text, "It is 7 degrees.")
        question = {"role": "user", "content": "How warm is it in Oslo?"}
        by_hand = self.responses.create(**asked([question, call.to_dict(), *result], tools=TOOLS))
        self.assertEqual(by_hand.output_text, "It is 7 degrees.")

    def test_a_response_in_the_background_is_stopped_and_forgotten(self):
        response = self.responses.create(background=True, **asked("Talk on."))
        self.assertIn(response.status, ("queued", "in_progress"))
        self.assertEqual(self.responses.cancel(response.id).status, "cancelled")
        self.assertEqual(self.responses.cancel(response.id).status, "cancelled")
        with self.responses.retrieve(response.id, stream=True) as stream:
            last = list(stream)[-1]
        self.assertEqual((last.type, last.response.status), ("response.incomplete", "cancelled"))
        self.responses.delete(response.id)
        for call in (self.responses.retrieve, self.responses.cancel, self.responses.delete):
            with self.assertRaises(openai.NotFoundError):
                call(response.id)

    def test_what_was_asked_is_listed_page_by_page(self):
        items = [{"role": "user", "content": text} for text in ("a", "b", "Greet me.")]
        response = self.responses.create(background=True, **asked(items))
        listed = self.responses.input_items.list(response.id, limit=2, order="asc")
        self.assertEqual([item.content[0].text for item in listed], ["a", "b", "Greet me."])

    def test_a_failure_raises_whole_or_streamed(self):
        with self.assertRaisesRegex(openai.BadRequestError, "it lost its thread"):
            self.responses.create(**asked("Stumble."))
        types = []
        with self.assertRaisesRegex(openai.APIError, "it lost its thread"):
            for event in self.responses.create(stream=True, **asked("Stumble.")):
                types.append(event.type)
        self.assertEqual((types[0], types[-1]), ("response.created", "response.output_text.delta"))

    def test_what_is_not_done_is_a_bad_request_that_names_it(self):
        for more, param in [({"conversation": "conv_1"}, "conversation"), ({"truncation": "auto"}, "truncation")]:
            with self.assertRaises(openai.BadRequestError) as raised:
                self.responses.create(**asked("Greet me.", **more))
            self.assertEqual(raised.exception.param, param)
        with self.assertRaises(openai.BadRequestError) as raised:
            self.responses.create(**asked("Greet me.", previous_response_id="resp_1"))
        self.assertEqual(raised.exception.code, "previous_response_not_found")


if __name__ == "__main__":
    unittest.main()
