-- What version 14 leaves behind: what was learned of a payment.

UPDATE assignments SET debtor = 'Durand SARL', method = 'card', paid_at = '2026-10-31T22:30:00Z'
WHERE event_id = x'01890000000070008000000000000001';
