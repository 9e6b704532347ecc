"""A server that dies in mid-answer, as OpenAI's Python SDK sees it. The server is gone after that."""

import os
import signal
import unittest

import openai
from cutting import CUT


class Cut(unittest.TestCase):
    def test_a_cut_raises_and_never_looks_like_the_end_of_an_answer(self):
        url = os.environ["TOKENWIRE_URL"] + "v1"
        messages = [{"role": "user", "content": "Talk on."}]
        pieces = []
        with openai.OpenAI(base_url=url, api_key="any", max_retries=0) as client:
            stream = client.chat.completions.create(model="scripted", messages=messages, stream=True)
            with self.assertRaises(CUT), stream:
                for chunk in stream:
                    pieces.append(chunk)
                    if len(pieces) == 3:
                        os.kill(int(os.environ["TOKENWIRE_PID"]), signal.SIGKILL)
        self.assertGreaterEqual(len(pieces), 3)
        self.assertTrue(all(piece.choices[0].finish_reason is None for piece in pieces))


if __name__ == "__main__":
    unittest.main()
