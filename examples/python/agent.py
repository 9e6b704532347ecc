"""An agent: a model that calls a tool as often as it likes, and then answers.

    pip install openai
    python agent.py "What is the weather in Paris?"

Each step carries a key of its own, so repeating it is safe: when the connection breaks or the server is killed in the
middle of one, the SDK asks again, and gets the answer that was begun, not a second one.
"""

import json
import os
import sys
import uuid

import openai

BASE_URL = os.environ.get("OPENAI_BASE_URL", "http://localhost:8000/v1")
MODEL = os.environ.get("MODEL", "demo")
MAX_STEPS = 10

client = openai.OpenAI(base_url=BASE_URL, api_key=os.environ.get("OPENAI_API_KEY", "any"), max_retries=10)


def get_weather(city, unit="celsius"):
    """What a real one would ask a weather service."""
    return {"city": city, "unit": unit, "degrees": 21}


FUNCTIONS = {"get_weather": get_weather}

TOOLS = [
    {
        "type": "function",
        "name": "get_weather",
        "description": "The weather in a city, now.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "unit": {"enum": ["celsius", "fahrenheit"]}},
            "required": ["city"],
        },
    }
]


def call(name, arguments):
    """What a call gives, in words for the model: also what was wrong with it, so that the model can do better."""
    print(f"  {name}({arguments})", file=sys.stderr)
    try:
        return json.dumps(FUNCTIONS[name](**json.loads(arguments)))
    except (KeyError, TypeError, ValueError) as error:
        return json.dumps({"error": repr(error)})


def ask(question):
    run, said, previous = uuid.uuid4(), question, None
    for step in range(MAX_STEPS):
        response = client.responses.create(
            model=MODEL,
            input=said,
            tools=TOOLS,
            previous_response_id=previous,
            extra_headers={"Idempotency-Key": f"{run}-{step}"},
        )
        calls = [item for item in response.output if item.type == "function_call"]
        if not calls:
            return response.output_text
        previous = response.id
        said = [
            {"type": "function_call_output", "call_id": one.call_id, "output": call(one.name, one.arguments)}
            for one in calls
        ]
    raise RuntimeError(f"no answer after {MAX_STEPS} steps")


if __name__ == "__main__":
    print(ask(sys.argv[1] if len(sys.argv) > 1 else "What is the weather in Paris?"))
