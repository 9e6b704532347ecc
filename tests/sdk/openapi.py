"""What /openapi.json says of answers, held against real ones: of every kind that the script knows, whole and streamed."""

import os
import unittest
from urllib.parse import urljoin

import schemathesis
from openapi_spec_validator import OpenAPIV31SpecValidator

URL = urljoin(os.environ["TOKENWIRE_URL"], "openapi.json")
TOOLS = [{"type": "function", "name": "get_weather", "parameters": {"type": "object"}}]
CHAT_TOOLS = [{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}]
PROMPTS = ["Greet me.", "Think first.", "How warm is it in Oslo?", "Stumble.", "Show everything."]


class Document(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.document = schemathesis.openapi.from_url(URL)

    def call(self, method, path, **parts):
        """Everything about the answer is checked: status, headers, body, and each event of a stream."""
        return self.document[path][method].Case(**parts).call_and_validate()

    def ask(self, path, body, **more):
        return self.call("POST", path, body=body, media_type="application/json", **more)

    def test_an_independent_validator_takes_it_for_openapi_3_1(self):
        OpenAPIV31SpecValidator(self.document.raw_schema).validate()

    def test_what_a_script_says_is_as_described_at_ask(self):
        for prompt in PROMPTS:
            with self.subTest(prompt):
                self.ask("/ask", {"query": prompt})

    def test_what_a_script_says_is_as_described_in_chat_completions(self):
        for prompt in PROMPTS:
            for more in [{}, {"stream": True}, {"stream": True, "stream_options": {"include_usage": True}}]:
                with self.subTest(prompt, **more):
                    messages = [{"role": "user", "content": prompt}]
                    self.ask("/v1/chat/completions", {"messages": messages, "tools": CHAT_TOOLS, **more})

    def test_what_a_script_says_is_as_described_in_responses(self):
        for prompt in PROMPTS:
            summary = {"reasoning": {"summary": "auto"}}
            for more in [
                {},
                {"stream": True},
                {"background": True},
                {"background": True, "stream": True},
                {"stream": True, **summary},
            ]:
                with self.subTest(prompt, **more):
                    self.ask("/v1/responses", {"input": prompt, "tools": TOOLS, **more})

    def test_a_response_that_is_read_again_stopped_and_forgotten_is_as_described(self):
        body = {"input": [{"role": "user", "content": "Talk for ever."}], "background": True}
        path = {"id": self.ask("/v1/responses", body).json()["id"]}
        self.call("GET", "/v1/responses/{id}", path_parameters=path)
        self.call("GET", "/v1/responses/{id}/input_items", path_parameters=path)
        stopped = self.call("POST", "/v1/responses/{id}/cancel", path_parameters=path)
        self.assertEqual(stopped.json()["status"], "cancelled")
        query = {"stream": "true", "starting_after": 2}
        self.call("GET", "/v1/responses/{id}", path_parameters=path, query=query)
        self.call("DELETE", "/v1/responses/{id}", path_parameters=path)
        self.assertEqual(self.call("GET", "/v1/responses/{id}", path_parameters=path).status_code, 404)

    def test_what_a_body_is_an_example_of_is_answered_well(self):
        for path, operations in self.document.raw_schema["paths"].items():
            for method, operation in operations.items():
                content = operation.get("requestBody", {}).get("content", {}).get("application/json")
                if content is not None:
                    with self.subTest(path):
                        body = {**content["example"], "model": "plain"}
                        self.assertEqual(self.ask(path, body).status_code, 200)


if __name__ == "__main__":
    unittest.main()
