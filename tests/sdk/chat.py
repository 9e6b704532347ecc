"""Chat completions and models, as OpenAI's Python SDK sees them."""

import os
import unittest

import openai

TOOLS = [{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}]


def said(text, model="scripted", **more):
    return {"model": model, "messages": [{"role": "user", "content": text}], **more}


class Chat(unittest.TestCase):
    def setUp(self):
        self.client = openai.OpenAI(base_url=os.environ["TOKENWIRE_URL"] + "v1", api_key="any", max_retries=0)
        self.addCleanup(self.client.close)

    def test_a_whole_answer_has_its_text_its_end_and_what_it_cost(self):
        answer = self.client.chat.completions.create(**said("Greet me."))
        [choice] = answer.choices
        self.assertEqual(choice.message.content, "Hello,\n👩‍🚀!")
        self.assertEqual((choice.message.role, choice.finish_reason), ("assistant", "stop"))
        self.assertEqual((answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens), (3, 4, 7))
        self.assertEqual((answer.object, answer.model), ("chat.completion", "scripted"))
        self.assertTrue(answer._request_id.startswith("req_"))

    def test_a_streamed_answer_is_the_same_text_in_pieces(self):
        with self.client.chat.completions.create(**said("Greet me.", stream=True)) as stream:
            chunks = list(stream)
        self.assertEqual(chunks[0].choices[0].delta.role, "assistant")
        self.assertEqual("".join(chunk.choices[0].delta.content or "" for chunk in chunks), "Hello,\n👩‍🚀!")
        self.assertEqual(chunks[-1].choices[0].finish_reason, "stop")
        self.assertEqual(len({chunk.id for chunk in chunks}), 1)
        self.assertTrue(all(chunk.usage is None for chunk in chunks))

    def test_usage_comes_last_when_it_is_asked_for(self):
        options = {"include_usage": True}
        chunks = list(self.client.chat.completions.create(**said("Greet me.", stream=True, stream_options=options)))
        self.assertEqual((chunks[-1].choices, chunks[-1].usage.total_tokens), ([], 7))
        self.assertTrue(all(chunk.usage is None for chunk in chunks[:-1]))

    def test_the_streaming_helper_puts_an_answer_together(self):
        with self.client.chat.completions.stream(**said("Greet me.")) as stream:
            stream.until_done()
            answer = stream.get_final_completion()
        self.assertEqual(answer.choices[0].message.content, "Hello,\n👩‍🚀!")

    def test_reasoning_is_told_apart_from_the_answer(self):
        [choice] = self.client.chat.completions.create(**said("Think first.")).choices
        self.assertEqual((choice.message.reasoning_content, choice.message.content), ("Let me see.", "Yes."))
        chunks = list(self.client.chat.completions.create(**said("Think first.", stream=True)))
        thought = "".join(getattr(chunk.choices[0].delta, "reasoning_content", None) or "" for chunk in chunks)
        self.assertEqual(thought, "Let me see.")

    def test_a_tool_is_called_and_its_result_answered(self):
        question = said("How warm is it in Oslo?", tools=TOOLS)
        [choice] = self.client.chat.completions.create(**question).choices
        self.assertEqual((choice.finish_reason, choice.message.content), ("tool_calls", None))
        [call] = choice.message.tool_calls
        self.assertEqual((call.id, call.function.name), ("call_1", "get_weather"))
        self.assertEqual(call.function.arguments, '{"city":"Oslo"}')

        with self.client.chat.completions.stream(**question) as stream:
            stream.until_done()
            streamed = stream.get_final_completion().choices[0]
        self.assertEqual(streamed.message.tool_calls[0].function.arguments, '{"city":"Oslo"}')
        self.assertEqual(streamed.finish_reason, "tool_calls")

        result = {"role": "tool", "tool_call_id": call.id, "content": "7"}
        question["messages"] += [choice.message.model_dump(), result]
        answer = self.client.chat.completions.create(**question)
        self.assertEqual(answer.choices[0].message.content, "It is 7 degrees.")

    def test_what_is_not_done_is_a_bad_request_that_names_it(self):
        for more, param in [({"n": 2}, "n"), ({"logprobs": True}, "logprobs"), ({"temperature": 3}, "temperature")]:
            with self.assertRaises(openai.BadRequestError) as raised:
                self.client.chat.completions.create(**said("Greet me.", **more))
            self.assertEqual((raised.exception.param, raised.exception.type), (param, "invalid_request_error"))
            self.assertTrue(raised.exception.request_id.startswith("req_"))
        with self.assertRaisesRegex(openai.BadRequestError, "tools"):
            self.client.chat.completions.create(**said("Hello", model="plain", tools=TOOLS))

    def test_a_model_that_is_not_there_is_not_found(self):
        with self.assertRaises(openai.NotFoundError) as raised:
            self.client.chat.completions.create(**said("Hello", model="gpt"))
        self.assertEqual(raised.exception.code, "model_not_found")

    def test_an_answer_that_fails_raises_whole_or_streamed(self):
        with self.assertRaisesRegex(openai.BadRequestError, "it lost its thread"):
            self.client.chat.completions.create(**said("Stumble."))
        text = ""
        with self.assertRaises(openai.APIError) as raised:
            for chunk in self.client.chat.completions.create(**said("Stumble.", stream=True)):
                text += chunk.choices[0].delta.content or ""
        self.assertEqual((text, raised.exception.code), ("I was about", "rejected"))
        self.assertIn("it lost its thread", raised.exception.message)

    def test_a_repeated_call_with_the_same_key_is_the_same_answer(self):
        key = {"extra_headers": {"Idempotency-Key": "python-1"}}
        first = self.client.chat.completions.create(**said("Greet me."), **key)
        again = self.client.chat.completions.create(**said("Greet me."), **key)
        self.assertEqual(first, again)
        retrying = self.client.with_options(max_retries=2)
        with self.assertRaises(openai.ConflictError):
            retrying.chat.completions.create(**said("Think first."), **key)

    def test_models_are_listed_and_found(self):
        self.assertEqual([model.id for model in self.client.models.list()], ["scripted", "plain"])
        self.assertEqual(self.client.models.retrieve("plain").owned_by, "tokenwire")
        with self.assertRaises(openai.NotFoundError):
            self.client.models.retrieve("gpt")

    def test_what_is_not_there_is_not_found(self):
        with self.assertRaises(openai.NotFoundError):
            self.client.embeddings.create(model="scripted", input="a")


if __name__ == "__main__":
    unittest.main()
