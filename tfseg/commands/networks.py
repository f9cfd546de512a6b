"""tfseg models, import."""

import argparse
import json

from tfseg.commands.opening import load_tensorflow
from tfseg.commands.output import print_table, say
from tfseg.errors import InputError


def listing(arguments: argparse.Namespace) -> None:
    """tfseg models."""
    from tfseg import models
    from tfseg.progress import progress

    load_tensorflow()
    import keras

    from tfseg.models.cost import gmac, parameters
    from tfseg.tables import Table

    rows, names = [], models.names()
    with progress() as watch:
        for done, name in enumerate(names, 1):
            keras.backend.clear_session()
            with keras.StatelessScope():  # the shapes of weights are enough: none is drawn
                model, row = models.build(name, (256, 256, 3), classes=1), models.network(name)[0]
            rows.append(
                {
                    "name": name,
                    "parameters": parameters(model),
                    "gmac": round(gmac(model), 3),
                    "stride": row.stride,
                    "paper": row.paper,
                }
            )
            watch("building networks", done, len(names))
    if arguments.json:
        print(json.dumps(rows, indent=2))
        return
    print_table(
        Table(
            title="Networks",
            header=("name", "parameters", "GMAC", "stride", "paper"),
            rows=tuple(
                (row["name"], f"{row['parameters']:,}", f"{row['gmac']:.2f}", str(row["stride"]), row["paper"])
                for row in rows
            ),
            note="Trainable parameters, three channels in, one class; GMAC at 256x256.",
        )
    )


def bring(arguments: argparse.Namespace) -> None:
    """tfseg import."""
    from tfseg import models, runs

    models.network(arguments.model, image_size=arguments.image_size)
    if arguments.out.suffix != ".keras":
        raise InputError(f"--out {arguments.out}: the name of a network file ends in .keras")
    if arguments.out.exists():
        raise InputError(f"{arguments.out}: exists already; choose another place or remove it")
    load_tensorflow()
    from tfseg.models.cost import parameters
    from tfseg.models.files import Card, save
    from tfseg.models.import_torch import import_network, read_state_dict

    state = read_state_dict(arguments.weights)
    model = import_network(arguments.model, state, image_size=arguments.image_size)
    channels, outputs = model.input_shape[-1], model.output_shape[-1]
    classes = arguments.classes.split(",") if arguments.classes else [f"class{k + 1}" for k in range(outputs)]
    if len(set(classes)) != outputs:
        raise InputError(f"--classes {','.join(classes)}: the weights have {outputs} classes, each needs its own name")
    card = Card(
        model=arguments.model,
        classes=tuple(classes),
        activation="sigmoid",
        threshold=0.5,
        largest_component=False,
        dataset=arguments.weights.name,
        fingerprint=runs.sha256(arguments.weights),
        phantom=False,
        fold=None,
    )
    save(model, arguments.out, card)
    answer = {
        "written": str(arguments.out),
        "model": arguments.model,
        "tensors": len(state),
        "parameters": parameters(model),
        "channels": channels,
        "classes": classes,
    }
    if arguments.json:
        print(json.dumps(answer, indent=2))
    else:
        say(f"{arguments.out}: {arguments.model} with {answer['parameters']:,} parameters, {', '.join(classes)}")
