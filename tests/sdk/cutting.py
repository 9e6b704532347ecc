"""What the tests of cut connections share: clients with and without the proxy, and readers that are cut."""

import os
import unittest

import httpx
import openai

# The second is what openai 3 raises.
CUT = (httpx.TransportError, openai.APIConnectionError)
TOOLS = [{"type": "function", "name": "get_weather", "parameters": {"type": "object"}, "strict": False}]
EVERYTHING = {"model": "scripted", "input": "Show everything.", "tools": TOOLS}


def client_of(variable, **more):
    return openai.OpenAI(base_url=os.environ[variable] + "v1", api_key="any", **{"max_retries": 0, **more})


def planned(plan, **headers):
    return {"extra_headers": {"Proxy-Plan": plan, **headers}}


def rest(stream):
    with stream:
        return list(stream)


class Cutting(unittest.TestCase):
    def setUp(self):
        self.direct, self.proxied = client_of("TOKENWIRE_URL"), client_of("TOKENWIRE_PROXY")
        self.addCleanup(self.direct.close)
        self.addCleanup(self.proxied.close)

    def whole(self, name):
        """All events, read without a cut."""
        events = rest(self.direct.responses.retrieve(name, stream=True))
        self.assertEqual([event.sequence_number for event in events], list(range(len(events))))
        self.assertEqual(events[-1].type, "response.completed")
        return events

    def read(self, events, stream):
        """Adds what comes to the events. True once it has ended, False if it was cut."""
        try:
            with stream:
                events.extend(stream)
        except CUT:
            return False
        return True

    def resume(self, events, name, plan):
        """Reads to a clean end, resuming after every cut. How often it was cut."""
        cuts = 0
        while True:
            after = {"starting_after": events[-1].sequence_number} if events else {}
            if self.read(events, self.proxied.responses.retrieve(name, stream=True, **after, **planned(plan))):
                return cuts
            cuts += 1

    def same(self, events, whole):
        self.assertEqual([event.to_dict() for event in events], [event.to_dict() for event in whole])
