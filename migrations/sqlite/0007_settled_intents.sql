-- A doubt can end: who holds an intent, and how often Finkare answered with success and without a secret that can be read.

ALTER TABLE intents ADD COLUMN unreadable INTEGER NOT NULL DEFAULT 0 CHECK (unreadable >= 0);

-- A secret was configured while somebody asked Finkare: only a person knows which of the two is right.
ALTER TABLE intents ADD COLUMN given_meanwhile INTEGER NOT NULL DEFAULT 0 CHECK (given_meanwhile IN (0, 1));

-- Who asked Finkare last. Null: the service, healing; or a version before this one.
ALTER TABLE intents ADD COLUMN asked_by TEXT;
