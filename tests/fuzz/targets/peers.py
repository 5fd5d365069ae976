"""Hostile peers, whose acts are decoded from bytes: three bytes for each act."""

from collections.abc import Hashable

from tests.fuzz.peers import Stage, world
from tests.fuzz.target import Target

ACTS = 12
MOST = 40  # acts of one play


async def act(stage: Stage, what: int, pick: int, how: int) -> None:
    """Let one of the peers do something."""
    pieces = 1 + how // 16 % 4
    match what % ACTS:
        case 0:
            await stage.connect()
        case 1 | 2:
            await stage.ask(pick, how, pieces)
        case 3:
            await stage.ask_on(pick)
        case 4 | 5:
            await stage.answer(pick, how, pieces)
        case 6:
            await stage.answer_on(pick)
        case 7:
            await stage.send_unrequested(pick)
        case 8:
            await stage.leave(pick, how)
        case 9:
            await stage.hang_up(pick, how)
        case 10:
            await (stage.make_noise if how % 2 else stage.say_junk)(pick, how // 2)
        case _:
            await stage.pass_time()


def check(data: bytes) -> Hashable:
    """Play it."""
    scene = world()
    stage = Stage(scene)

    async def play() -> None:
        await stage.connect()
        for at in range(0, min(len(data), 3 * MOST) - 2, 3):
            await act(stage, *data[at : at + 3])
            if data[at] % 3:  # else the next act comes in the same turn
                await stage.settle()
        await stage.rest()

    scene.run(play())
    answers = [client.answers()[0] for client in stage.clients]
    return tuple(sorted({answer.start[0] for found in answers for answer in found})), len(stage.lines) > 1


TARGETS = (Target("peers", check),)
