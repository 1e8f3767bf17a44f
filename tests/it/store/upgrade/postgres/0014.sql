-- What version 14 leaves behind: what was learned of a payment.

UPDATE assignments SET debtor = 'Durand SARL', method = 'card', paid_at = '2026-10-31T22:30:00Z'
WHERE event_id = '01890000-0000-7000-8000-000000000001';
