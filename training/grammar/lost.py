"""Plots in which something or somebody is lost, and found."""

from __future__ import annotations

from training.grammar.plot import Plot

LOST_IN_WIND = Plot(
    "lost in the wind",
    (
        "put on {her} {color} {cloth} and went to the {place}.",
        "wore a new {color} {cloth} and walked to the {place}.",
    ),
    (
        (
            "The {cloth} was a gift from {her} {elder}, and {she} loved it very much.",
            "{Her} {elder} had made the {cloth} for {him}, so {she} was very proud of it.",
        ),
        (
            "Suddenly a strong wind began to blow.",
            "The sky was grey, and a cold wind blew over the {place}.",
        ),
        (
            "It took the {cloth} and carried it high into a tree.",
            "It blew the {cloth} away, and it stayed at the top of a tall tree.",
        ),
        (
            "{Hero} jumped and jumped, but {she} could not reach it.",
            "{Hero} tried to climb the tree, but {she} was too small.",
            "{Hero} threw a stick at it, but the {cloth} did not move.",
        ),
        (
            "{Her} friend {friend} was {at_place} too and saw that {hero} was sad.",
            "Just then {her} friend {friend} came to the {place} and asked what was wrong.",
        ),
        (
            '"My {cloth} is in the tree," said {hero}.',
            '"The wind took my {color} {cloth}," said {hero}.',
        ),
        (
            '"I have an idea," said {friend}, and {fshe} ran to get a long ladder.',
            '"Wait here," said {friend}, and {fshe} came back with a long ladder.',
        ),
        (
            "{Hero} held the ladder while {friend} climbed up and took the {cloth}.",
            "{Friend} climbed up step by step while {hero} held the ladder.",
        ),
        (
            "At last {fshe} came down and put the {color} {cloth} in {her} hands.",
            "Soon {fshe} came down with the {color} {cloth}.",
        ),
        (
            '"Thank you, {friend}," said {hero}, and {she} was happy again.',
            "{Hero} was so happy that {she} danced and laughed.",
        ),
        (
            "Then they went home together, and {her} {elder} gave them warm {dish}.",
            "To thank {fhim}, {hero} shared {her} {food} with {friend}.",
        ),
        (
            "After that, {hero} always held {her} {cloth} when the wind blew.",
            "Since then, {hero} has never forgotten what a good friend can do.",
        ),
    ),
)

LOST_ANIMAL = Plot(
    "lost animal",
    (
        "was walking near the {place} when {she} heard a strange sound.",
        "heard a soft cry on the way to the {place}.",
    ),
    (
        (
            "Behind a bush, {she} found a little {fur} {animal}.",
            "Under a tree, {she} saw a little {fur} {animal}.",
        ),
        (
            "It was cold and hungry, and it had lost its way.",
            "It was alone and afraid, and its leg was hurt.",
        ),
        (
            '"Poor {animal}," said {hero}. "I will take care of you."',
            '"Do not be afraid," said {hero}. "I will help you."',
        ),
        (
            "{She} put the {animal} in {her} basket and carried it home.",
            "{She} held the {animal} in {her} arms and took it home.",
        ),
        (
            "{Her} {elder} made a warm bed for it and gave it some food and water.",
            "{Her} {elder} gave it water to drink and an old coat to sleep on.",
        ),
        (
            "The next day, the {animal} was strong and wanted to play.",
            "After three days, the {animal} was well again.",
        ),
        (
            "{Hero} wanted to keep it, but {she} knew that somebody missed it.",
            '"Somebody must be looking for it," said {her} {elder}, and {hero} knew it was true.',
        ),
        (
            "So {she} asked at every house in the village.",
            "So {she} went from door to door and asked everyone.",
        ),
        (
            "At the last house, a {fchild} named {friend} opened the door and cried with joy.",
            "At last {she} met a {fchild} named {friend}, who was looking for a {fur} {animal}.",
        ),
        (
            '"That is my {animal}!" said {friend}. "I looked for it everywhere."',
            '"You found my {animal}!" said {friend}. "Thank you so much."',
        ),
        (
            "To thank {hero}, {fshe} gave {him} a {gift} and a big hug.",
            "{Friend} was so happy that {fshe} gave {hero} a {color2} {gift}.",
        ),
        (
            "Now {hero} visits {friend} every week, and they play with the {animal}.",
            "From that day on, {hero} and {friend} walked with the {animal} by the {place}.",
        ),
    ),
)

LOST_IN_FOG = Plot(
    "light in the fog",
    (
        "walked far past the {place} to look for {fruit}.",
        "went to the {place} to find some {fruit}.",
    ),
    (
        (
            "{She} took a basket and a {color} {toy} with {him}.",
            "{She} carried {her} {color} {toy} and an empty basket.",
        ),
        (
            "{She} found so many {fruit} that {she} forgot the time.",
            "Soon the basket was full of {fruit}, and {she} wanted to go home.",
        ),
        (
            "But a thick fog came, and {she} could not see the way.",
            "But it grew dark, and {she} lost {her} way.",
        ),
        (
            '"Where am I?" {she} said, and {she} was afraid.',
            "{She} called for help, but nobody heard {him}.",
        ),
        (
            "Then {she} saw a small light between the trees.",
            "After a long time, {she} saw a light far away.",
        ),
        (
            "{She} followed the light and came to the house of {a_helper}.",
            "The light came from the window of {a_helper}, so {she} knocked at the door.",
        ),
        (
            '"Come in," said the {helper}. "You must be cold and hungry."',
            '"Poor child," said the {helper}. "Sit by the fire and rest."',
        ),
        (
            "{Hshe} gave {hero} hot {dish} and a cup of tea.",
            "{Hshe} gave {him} a warm coat and some {dish}.",
        ),
        (
            "Then {hshe} took a lantern and walked home with {him}.",
            "When {hero} was warm, {hshe} showed {him} the way home.",
        ),
        (
            "At the door, {her} {elder} was waiting and took {him} in {eher} arms.",
            "{Her} {elder} was so glad to see {him} that {eshe} cried with joy.",
        ),
        (
            "{Hero} gave the {helper} half of the {fruit} to thank {hhim}.",
            "To thank the {helper}, {hero} gave {hhim} the basket of {fruit}.",
        ),
        (
            "After that, {hero} never went to the {place} alone in the evening.",
            "Now {hero} visits the {helper} every Sunday with {her} {toy}.",
        ),
    ),
)
